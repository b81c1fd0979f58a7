// A frame to drag by mouse, finger or keyboard. What is submitted are the four number fields.
(() => {
  "use strict";

  const NAMES = ["x", "y", "width", "height"];
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const between = (least, value, most) => Math.max(least, Math.min(Math.round(value), most));

  const picture = document.getElementById("picture");
  const square = document.getElementById("square");
  const fields = document.querySelector("form.crop").elements;
  const full = { width: fields.width.max, height: fields.height.max };

  function read() {
    return Object.fromEntries(NAMES.map((name) => [name, Number(fields[name].value)]));
  }

  // The frame is exact to a fraction of a pixel: rounding must not lead out of the picture.
  function write(box) {
    const x = between(0, box.x, full.width - 1);
    const y = between(0, box.y, full.height - 1);
    const width = between(1, box.width, full.width - x);
    const height = between(1, box.height, full.height - y);
    const rounded = { x, y, width, height };
    NAMES.forEach((name) => { fields[name].value = rounded[name]; });
  }

  function press(event) {
    const arrow = ARROWS[event.key];
    if (!arrow || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const step = Math.max(1, Math.round(full.width / 100));
    const [right, down] = arrow.map((way) => way * step);
    const box = cropper.getData();
    if (!event.shiftKey) {
      move(box, right, down);
    } else if (square.checked) {
      grow(box, right + down, right + down);
    } else {
      grow(box, right, down);
    }
  }

  function move(box, right, down) {
    const x = between(0, box.x + right, full.width - box.width);
    const y = between(0, box.y + down, full.height - box.height);
    cropper.setData({ ...box, x, y });
  }

  function grow(box, right, down) {
    const width = between(1, box.width + right, full.width - box.x);
    const height = between(1, box.height + down, full.height - box.y);
    const side = Math.min(width, height);
    cropper.setData({ ...box, ...(square.checked ? { width: side, height: side } : { width, height }) });
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

  function tell() {
    const { x, y, width, height } = read();
    document.getElementById("crop-status").textContent =
      `${width} by ${height} pixels, ${x} from the left, ${y} from the top`;
  }

  const first = read();
  square.checked = first.width === first.height;
  const cropper = new Cropper(picture, {
    data: first,
    aspectRatio: square.checked ? 1 : NaN,
    viewMode: 1,
    dragMode: "move",
    autoCropArea: 1,
    background: false,
    checkCrossOrigin: false, // would change the signed address of the picture
    checkOrientation: false, // browsers turn pictures themselves
    movable: false,
    rotatable: false,
    scalable: false,
    zoomable: false,
    toggleDragModeOnDblclick: false,
    ready: makeReachable,
    crop: (event) => write(event.detail),
    cropend: tell,
  });

  NAMES.forEach((name) => fields[name].addEventListener("change", () => cropper.setData(read())));
  square.addEventListener("change", () => cropper.setAspectRatio(square.checked ? 1 : NaN));
  document.querySelectorAll("[data-script]").forEach((part) => { part.hidden = false; });
})();
