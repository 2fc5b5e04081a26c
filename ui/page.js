// Runs once, when Gradio starts: language of the document, light or dark, names of Gradio's buttons, live regions.
(() => {
  const NAMES = /*NAMES*/ {};
  const root = document.documentElement;
  root.lang = "fr";

  const store = {
    get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },  // refused in some frames
    set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* the choice lasts for this page */ } },
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dress = () => {
    const choice = store.get("baf-theme") ?? new URLSearchParams(location.search).get("__theme");
    const dark = choice === "dark" || (choice !== "light" && system.matches);
    if (document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
    root.style.colorScheme = dark ? "dark" : "light";
  };
  const name = (element) => {
    for (const attribute of ["aria-label", "title"]) {
      const given = element.getAttribute(attribute);
      if (given && NAMES[given]) element.dataset[attribute === "title" ? "bafTitle" : "bafName"] = given;
      const kept = element.dataset[attribute === "title" ? "bafTitle" : "bafName"];
      const wanted = kept && NAMES[kept][root.lang];
      if (wanted && given !== wanted && (NAMES[given] || given)) element.setAttribute(attribute, wanted);
    }
  };
  const nameAll = (within) => within.querySelectorAll("#chat button").forEach(name);

  // Gradio speaks the browser's language, and NAMES knows two: in any other one it is told French. Its module has begun
  // long before this script, so nothing that it reads could be set in time; where it is not found all stays as it is.
  const core = document.querySelector('link[rel="modulepreload"][href*="/core-"]');
  if (core && !/^(fr|en)\b/.test(navigator.language)) {
    import(core.href).then((gradio) => gradio.changeLocale("fr")).catch(() => {});
  }

  window.bafLanguage = (language) => { root.lang = language; nameAll(document); speakSoon(); };
  window.bafTheme = () => {
    store.set("baf-theme", document.body.classList.contains("dark") ? "light" : "dark");
    dress();
  };
  // A pressed choice stays: pressing it again must not throw a conversation away. Gradio replaces what stood in a block;
  // the keyboard goes back to the button that was pressed, else to what it opened (`down`, `down:…`), else to the box.
  let byKey = false;  // the last press, of anything
  window.bafPressed = (element, attribute, trigger) => {
    element.addEventListener("click", (event) => {
      const button = event.target.closest(`[data-${attribute}]`);
      if (!button || !element.contains(button) || button.getAttribute("aria-pressed") === "true") return;
      const value = button.dataset[attribute], gather = button.dataset.gather;
      if (value === "undo") { bafUndoing(); bafTicked(); }
      element.dataset.focus = `[data-${attribute}="${value}"]`;
      element.dataset.opened = `[data-${attribute}^="${value}:"]`;
      // What is ticked in a block is known to the browser alone, until a button that gathers it is pressed.
      const gathered = gather && JSON.stringify([...element.querySelectorAll(gather)].map((one) => one.value));
      trigger("select", { value: gathered ? `${value}:${gathered}` : value, index: 0 });
    });
    new MutationObserver(() => {
      if (!element.dataset.focus || document.activeElement !== document.body) return;
      const next = element.querySelector(element.dataset.focus)
        ?? (byKey && (element.querySelector(element.dataset.opened) ?? document.querySelector("#box textarea")));
      if (next) next.focus({ preventScroll: true });
    }).observe(element, { childList: true, subtree: true });
  };

  // Gradio draws over the boxes that stand there: what was unticked would be so for the passages of another answer.
  window.bafTicked = () => document.querySelectorAll("#margin input").forEach((one) => { one.checked = true; });

  window.bafBack = () => {  // a reply that waits to be finished: the pupil goes on where it stops
    const box = document.querySelector("#box textarea");
    if (!box?.value || !document.querySelector("#margin [data-focus*='reply:']")) return;
    box.focus();
    box.setSelectionRange(box.value.length, box.value.length);
  };

  // A screen reader hears whole sentences as they are finished, not each token: Gradio's own log is silenced.
  const live = document.createElement("div");
  Object.assign(live, { className: "baf-live", role: "status", ariaLive: "polite", ariaAtomic: "false" });
  let heard = "", answers = 0, soon = 0;
  const speak = () => {
    soon = 0;
    const log = document.querySelector('#chat [role="log"]');
    if (!log) return;
    if (log.getAttribute("aria-live") !== "off") log.setAttribute("aria-live", "off");
    const said = log.querySelectorAll('[data-testid="bot"]');
    // Answers are French on the English page too; an opening is in the page's language, and a debate has none.
    said.forEach((one, place) => { one.lang = place || document.querySelector(".versus") ? "fr" : root.lang; });
    const text = (said[said.length - 1]?.innerText ?? "").trim();
    if (said.length !== answers || !text.startsWith(heard)) { answers = said.length; heard = ""; }
    const rest = text.slice(heard.length);
    const busy = document.querySelector("#box .stop-button");
    const whole = busy ? rest.match(/^[\s\S]*[.!?…»](?=\s)/)?.[0] ?? "" : rest;
    if (!whole.trim()) return;
    heard += whole;
    const sentence = document.createElement("p");
    Object.assign(sentence, { textContent: whole.trim(), lang: said[said.length - 1].lang });
    live.append(sentence);
    while (live.childElementCount > 5) live.firstElementChild.remove();
  };
  // The conversation follows what is said, unless the pupil has scrolled up to read. In a low window the page scrolls.
  let follows = true, said = 0;
  const low = (scroll) => getComputedStyle(scroll).overflowY === "visible";
  const scrolled = (event) => {
    const scroll = document.getElementById("scroll");
    if (!scroll || event.target !== (low(scroll) ? document : scroll)) return;
    const whole = low(scroll) ? document.scrollingElement : scroll;
    follows = whole.scrollHeight - whole.scrollTop - whole.clientHeight < 90;
  };
  const follow = () => {
    const scroll = document.getElementById("scroll");
    if (!scroll) return;
    const mine = scroll.querySelectorAll('[data-testid="user"]').length;
    if (mine !== said) { said = mine; follows = true; }
    const whole = scroll.querySelector(".crisis, .recap");  // read from its first line, not from its last
    if (whole) {
      if (!whole.dataset.seen) { whole.dataset.seen = "yes"; whole.scrollIntoView({ block: "start" }); follows = false; }
      return;
    }
    if (!follows || scroll.querySelector(".sheet[open]")) return;
    if (!low(scroll)) scroll.scrollTop = scroll.scrollHeight;
    else if (mine || document.querySelector("#box .stop-button, .replies")) {  // a page that opens is read from its top
      document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight;
    }
  };
  const speakSoon = () => { soon ||= setTimeout(speak, 250); };

  const region = (id, role) => {
    const element = document.getElementById(id);
    if (element && !element.role) { element.role = role; element.ariaLive = "polite"; }
  };
  const start = () => {
    dress();
    document.body.append(live);
    addEventListener("scroll", scrolled, { capture: true, passive: true });
    addEventListener("click", (event) => {  // by a key: Send and Stop take each other's place, and the focus with them
      byKey = event.detail === 0;
      const button = byKey && event.target.closest?.("#box .submit-button, #box .stop-button");
      if (button) document.querySelector("#box textarea")?.focus();
    }, true);
    addEventListener("keydown", (event) => {  // what was opened over the page closes with Escape, or by a press elsewhere
      const open = event.key === "Escape" && document.querySelector(".sheet[open], .menu[open]");
      if (open) { open.removeAttribute("open"); open.querySelector("summary").focus(); }
    });
    addEventListener("click", (event) => document.querySelectorAll("#margin .margin-row > .sheet[open], .menu[open]").forEach((open) => {
      if (!open.contains(event.target)) open.removeAttribute("open");
    }));
    addEventListener("toggle", (event) => {
      if (event.target.matches?.(".sheet[open]")) event.target.querySelector(".sheet-body").scrollIntoView({ block: "nearest" });
    }, true);
    system.addEventListener("change", dress);
    new MutationObserver(dress).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    new MutationObserver((changes) => {
      region("status", "status");
      region("notice", "status");
      speakSoon();
      follow();
      for (const change of changes) {
        if (change.type === "attributes") name(change.target);
        else change.addedNodes.forEach((node) => node.nodeType === 1 && nameAll(node.parentElement ?? node));
      }
    }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["aria-label", "title"] });
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start); else start();
})();
