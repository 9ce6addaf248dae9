// Renews what is live, counts since when, and copies text. Every page works without it.
"use strict";

// The parts of a page with `data-live="/console/live/..."` are replaced by what the server sends under their id.
const live = document.querySelector("[data-live]");
if (live) {
  const seen = document.querySelector("[data-updated]");
  let at = Date.now();
  const tell = () => {
    if (!seen) return;
    const seconds = Math.round((Date.now() - at) / 1000);
    seen.textContent = seen.dataset.updated.replace("{seconds}", String(seconds));
    seen.classList.toggle("bad", seconds > 15);
  };
  const isUsed = (part) => part.contains(document.activeElement) || part.querySelector("details[open]");
  const waiting = new Map();
  const source = new EventSource(live.dataset.live);
  source.onmessage = (message) => {
    at = Date.now();
    tell();
    for (const [id, html] of Object.entries(JSON.parse(message.data))) waiting.set(id, html);
    renew();
  };
  const renew = () => {
    for (const [id, html] of waiting) {
      const part = document.getElementById(id);
      // What somebody is reading with the keyboard, or has opened, is not taken from under their hands: it waits.
      if (part && isUsed(part)) continue;
      waiting.delete(id);
      if (!part || part.innerHTML === html) continue;
      part.innerHTML = html;
      part.classList.remove("renewed");
      void part.offsetWidth; // So that the mark of a renewed part shows again.
      part.classList.add("renewed");
    }
  };
  // A session that has ended is a page to sign in at, which no stream can be.
  source.addEventListener("ended", () => { source.close(); window.location.reload(); });
  setInterval(() => { tell(); renew(); }, 1000);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent.trim();
  await navigator.clipboard.writeText(text);
  button.textContent = button.dataset.copied;
});
