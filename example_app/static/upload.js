// Drag and drop, a preview and a progress bar for the upload form, which works without any of them.
(() => {
  "use strict";

  const readable = (bytes) =>
    bytes < 1048576 ? `${Math.ceil(bytes / 1024)} kB` : `${(bytes / 1048576).toFixed(1)} MB`;

  class Upload {
    constructor(form) {
      this.form = form;
      this.input = form.elements.avatar;
      this.drop = form.querySelector(".drop");
      this.progress = form.querySelector(".progress");
      form.querySelectorAll("[data-script]").forEach((part) => { part.hidden = false; });
      this.listen();
    }

    listen() {
      this.input.addEventListener("change", () => this.preview());
      this.form.addEventListener("submit", (event) => this.submit(event));
      this.drop.addEventListener("dragover", () => this.drop.classList.add("over"));
      this.drop.addEventListener("dragleave", () => this.drop.classList.remove("over"));
      this.drop.addEventListener("drop", (event) => this.take(event.dataTransfer.files));
    }

    take(files) {
      this.drop.classList.remove("over");
      if (!files.length) return;
      this.input.files = files;
      this.preview();
    }

    get file() {
      return this.input.files[0];
    }

    preview() {
      const shown = this.form.querySelector(".chosen");
      shown.hidden = !this.file;
      if (!this.file) return;
      const picture = shown.querySelector("img");
      URL.revokeObjectURL(picture.src);
      picture.onerror = () => { shown.hidden = true; };
      picture.src = URL.createObjectURL(this.file);
      shown.querySelector("figcaption").textContent = readable(this.file.size);
      this.say(this.problem());
    }

    // What the server would refuse as well: saves sending it.
    problem() {
      const most = Number(this.form.dataset.maxBytes);
      if (this.file.size > most) return `Choose a smaller picture: at most ${most / 1048576} MB.`;
      const known = !this.file.type || this.input.accept.split(",").includes(this.file.type);
      return known ? "" : "Choose a JPEG, PNG, WebP or GIF picture; this is none.";
    }

    submit(event) {
      event.preventDefault();
      const problem = this.file ? this.problem() : "Choose a picture first.";
      this.say(problem);
      if (problem) return document.querySelector(".errors").focus();
      if (this.progress.hidden) this.send();
    }

    send() {
      const request = new XMLHttpRequest();
      request.open("POST", this.form.action);
      request.responseType = "document";
      request.setRequestHeader("X-Requested-With", "XMLHttpRequest");
      request.upload.onprogress = (event) => this.show(event.loaded / event.total);
      request.onload = () => this.answered(request);
      request.onerror = () => this.failed("The connection was lost. Please try again.");
      request.send(new FormData(this.form));
      this.show(0);
    }

    show(share) {
      this.progress.hidden = false;
      this.progress.querySelector("progress").value = share;
      const text = share < 1 ? `Sending ${readable(this.file.size)}` : "Looking at the picture";
      const output = this.progress.querySelector("output");
      if (output.value !== text) output.value = text;
    }

    // The answer is a page, as without a script: the next step, or this one with what is wrong.
    answered(request) {
      const page = request.response;
      if (request.status < 400) return location.assign(request.responseURL);
      if (!page || !page.querySelector("main")) {
        return this.failed(`The server could not take it (${request.status}). Please try again.`);
      }
      document.title = page.title;
      for (const part of ["main", "footer"]) {
        document.querySelector(part).replaceWith(page.querySelector(part));
      }
      start();
      (document.querySelector(".errors") || document.querySelector("main")).focus();
    }

    failed(problem) {
      this.progress.hidden = true;
      this.say(problem);
      document.querySelector(".errors").focus();
    }

    say(problem) {
      document.querySelectorAll(".errors, .error").forEach((part) => part.remove());
      this.input.setAttribute("aria-invalid", Boolean(problem));
      this.input.setAttribute("aria-describedby", problem ? "avatar-hint avatar-error" : "avatar-hint");
      if (!problem) return;
      const [summary, beside] = this.form.querySelector("template").content.cloneNode(true).children;
      summary.querySelector("a").textContent = problem;
      summary.autofocus = false;
      beside.append(problem);
      document.querySelector("main").prepend(summary);
      this.input.before(beside);
    }
  }

  function start() {
    const form = document.querySelector("form.upload");
    if (form) new Upload(form);
  }

  // A picture that misses the drop zone must not replace the page.
  for (const name of ["dragover", "drop"]) {
    window.addEventListener(name, (event) => event.preventDefault());
  }
  // Back: the page comes as it was left, in the middle of sending.
  window.addEventListener("pageshow", () => {
    document.querySelectorAll(".progress").forEach((bar) => { bar.hidden = true; });
  });
  start();
})();
