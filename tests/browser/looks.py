"""What a page must be for everybody to read and use it, asked of the page itself."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parents[2]
RUN = ROOT / "tests" / "browser" / "screenshots"  # of this run, not committed
DOCS = ROOT / "docs" / "screenshots"  # written when DOCS_SCREENSHOTS is set
SHOWN = ("desktop-light", "phone-dark")

# Every piece of text whose contrast is below WCAG AA (4.5, or 3 for large text).
FAINT_TEXT = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => {
      const part = c / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("script, template")) continue;
    const style = getComputedStyle(element);
    const pair = [light(parse(style.color).slice(0, 3)), light(behind(element).slice(0, 3))];
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push(`${text}: ${ratio.toFixed(2)}`);
  }
  return faint;
}"""

# Every control without a name, every picture without a text, every id that is there twice.
NAMELESS = """() => {
  const controls = [...document.querySelectorAll("input:not([type=hidden]), progress, select")];
  const unlabelled = controls.filter((control) => !control.labels.length);
  const empty = [...document.querySelectorAll("button, a, summary")]
    .filter((part) => !part.textContent.trim());
  const mute = [...document.querySelectorAll("img:not([alt])")];
  const ids = [...document.querySelectorAll("[id]")].map((part) => part.id);
  const twice = ids.filter((id, at) => ids.indexOf(id) !== at);
  const broken = [...document.querySelectorAll("[aria-describedby]")]
    .flatMap((part) => part.getAttribute("aria-describedby").split(" "))
    .filter((id) => !document.getElementById(id));
  return [...[...unlabelled, ...empty, ...mute].map((part) => part.outerHTML), ...twice, ...broken];
}"""

WIDTH = "document.scrollingElement.scrollWidth"


def keep(page: Page, name: str) -> None:
    """Keep a picture of the whole page where a person can look."""
    save_small(page.screenshot(full_page=True), RUN / f"{name}.png")
    if os.environ.get("DOCS_SCREENSHOTS") and name.endswith(SHOWN):
        shutil.copyfile(RUN / f"{name}.png", DOCS / f"{name}.png")


def save_small(png: bytes, path: Path) -> None:
    """Write a screenshot with 256 colours: a fifth of the bytes, and nobody sees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(png)) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    few.save(path, optimize=True)
