// A frame to drag by mouse, finger or keyboard. What is submitted are the four number fields.
(() => {
  "use strict";

  const NAMES = ["x", "y", "width", "height"];
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const between = (least, value, most) => Math.max(least, Math.min(Math.round(value), most));

  const square = document.getElementById("square");
  const fields = document.querySelector("form.crop").elements;
  const full = { width: Number(fields.width.max), height: Number(fields.height.max) };
  const step = Math.max(1, Math.round(full.width / 100));

  function read() {
    return Object.fromEntries(NAMES.map((name) => [name, Number(fields[name].value)]));
  }

  function write(box) {
    const whole = fit(box);
    NAMES.forEach((name) => { fields[name].value = whole[name]; });
  }

  // The nearest box of whole pixels that lies in the picture; what is too large shrinks.
  function fit(box) {
    const x = between(0, box.x, full.width - 1);
    const y = between(0, box.y, full.height - 1);
    const width = between(1, box.width, full.width - x);
    const height = between(1, box.height, full.height - y);
    const side = Math.min(width, height);
    return square.checked ? { x, y, width: side, height: side } : { x, y, width, height };
  }

  function type(event) {
    const box = read();
    if (square.checked && event.target === fields.width) box.height = box.width;
    if (square.checked && event.target === fields.height) box.width = box.height;
    cropper.setData(fit(box));
  }

  function shape() {
    const box = fit(read());
    cropper.setAspectRatio(square.checked ? 1 : NaN); // this alone would start the frame afresh
    cropper.setData(box);
  }

  function press(event) {
    const arrow = ARROWS[event.key];
    if (!arrow || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [right, down] = arrow.map((way) => way * step);
    cropper.setData(event.shiftKey ? grown(read(), right, down) : moved(read(), right, down));
  }

  function moved(box, right, down) {
    const x = between(0, box.x + right, full.width - box.width);
    const y = between(0, box.y + down, full.height - box.height);
    return { ...box, x, y };
  }

  function grown(box, right, down) {
    const wider = square.checked ? right + down : right;
    const higher = square.checked ? right + down : down;
    return fit({ ...box, width: box.width + wider, height: box.height + higher });
  }

  function tell() {
    const { x, y, width, height } = read();
    document.getElementById("crop-status").textContent =
      `${width} by ${height} pixels, ${x} from the left, ${y} from the top`;
  }

  function makeReachable() {
    const frame = document.querySelector(".cropper-crop-box");
    frame.tabIndex = 0;
    frame.setAttribute("role", "application");
    frame.setAttribute("aria-label", "Crop frame");
    frame.setAttribute("aria-describedby", "crop-keys");
    frame.addEventListener("keydown", press);
    frame.addEventListener("keyup", tell);
  }

  // The picture may arrive late: what was typed meanwhile, or left here before Back, counts.
  function begin() {
    shape();
    picture.addEventListener("crop", (event) => write(event.detail));
    picture.addEventListener("cropend", tell);
    NAMES.forEach((name) => fields[name].addEventListener("change", type));
    square.addEventListener("change", shape);
    makeReachable();
  }

  const picture = document.getElementById("picture");
  const { width, height } = read();
  square.checked = width === height;
  document.querySelectorAll("[data-script]").forEach((part) => { part.hidden = false; });
  const cropper = new Cropper(picture, {
    viewMode: 1,
    dragMode: "move",
    background: false,
    checkCrossOrigin: false, // would change the signed address of the picture
    checkOrientation: false, // browsers turn pictures themselves
    movable: false,
    rotatable: false,
    scalable: false,
    zoomable: false,
    toggleDragModeOnDblclick: false,
    ready: begin,
  });
})();
