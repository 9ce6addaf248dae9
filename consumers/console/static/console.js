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
  // Why nothing is new is said once, and read out when there is time; nothing is said while all is well.
  const notLive = document.querySelector("[data-not-live]");
  const clock = new Intl.DateTimeFormat(document.documentElement.lang, {
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZone: notLive.dataset.zone,
  });
  let why = "";
  const say = (reason) => {
    if (why === reason) return;
    why = reason;
    notLive.replaceChildren();
    if (!reason) return;
    const line = document.createElement("p");
    line.className = "notice bad";
    line.textContent = notLive.dataset[reason].replace("{since}", clock.format(at));
    notLive.append(line);
  };
  const waiting = new Map();
  // What the server sent last of each part: a browser writes the same otherwise, so that is compared only at first.
  const sent = new Map();
  const asWritten = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.innerHTML;
  };
  const isThere = (part, html) =>
    sent.has(part.id) ? sent.get(part.id) === html : part.innerHTML === asWritten(html);
  const renew = () => {
    for (const [id, html] of waiting) {
      const part = document.getElementById(id);
      // What somebody is reading with the keyboard, or has opened, is not taken from under their hands: it waits.
      if (part && isUsed(part)) continue;
      waiting.delete(id);
      if (!part) continue;
      const isNew = !isThere(part, html);
      sent.set(id, html);
      if (!isNew) continue;
      part.innerHTML = html;
      part.classList.remove("renewed");
      void part.offsetWidth; // So that the mark of a renewed part shows again.
      part.classList.add("renewed");
    }
  };
  let source, opened;
  const open = () => {
    opened = Date.now();
    source = new EventSource(live.dataset.live);
    source.onmessage = (message) => {
      at = Date.now();
      tell();
      say("");
      for (const [id, html] of Object.entries(JSON.parse(message.data))) waiting.set(id, html);
      renew();
    };
    source.addEventListener("trouble", () => say("trouble"));
    source.addEventListener("full", () => say("full"));
    // A session that has ended is a page to sign in at, which no stream can be.
    source.addEventListener("ended", () => { source.close(); window.location.reload(); });
  };
  open();
  setInterval(() => {
    tell();
    renew();
    // A browser asks again by itself, but not where it was answered by an error, as while the server is started again.
    if (source.readyState === EventSource.CLOSED && Date.now() - opened > 5000) open();
    const isCut = source.readyState !== EventSource.OPEN && Date.now() - at > 5000;
    if (isCut && why !== "full") say("gone");
  }, 1000);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.getElementById(button.dataset.copy).textContent.trim();
  await navigator.clipboard.writeText(text);
  button.textContent = button.dataset.copied;
});
