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

  window.bafLanguage = (language) => { root.lang = language; nameAll(document); };
  window.bafTheme = () => {
    store.set("baf-theme", document.body.classList.contains("dark") ? "light" : "dark");
    dress();
  };
  // A pressed choice stays: pressing it again must not throw a conversation away. Gradio replaces what stood in a block; the keyboard goes back to the button that was pressed.
  window.bafPressed = (element, attribute, trigger) => {
    element.addEventListener("click", (event) => {
      const button = event.target.closest(`[data-${attribute}]`);
      if (!button || !element.contains(button) || button.getAttribute("aria-pressed") === "true") return;
      const value = button.dataset[attribute];
      element.dataset.focus = `[data-${attribute}="${value}"]`;
      trigger("select", { value, index: 0 });
    });
    new MutationObserver(() => {
      if (element.dataset.focus && document.activeElement === document.body) {
        element.querySelector(element.dataset.focus)?.focus({ preventScroll: true });
      }
    }).observe(element, { childList: true, subtree: true });
  };

  const region = (id, role) => {
    const element = document.getElementById(id);
    if (element && !element.role) { element.role = role; element.ariaLive = "polite"; }
  };
  const start = () => {
    dress();
    system.addEventListener("change", dress);
    new MutationObserver(dress).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    new MutationObserver((changes) => {
      region("status", "status");
      region("notice", "status");
      for (const change of changes) {
        if (change.type === "attributes") name(change.target);
        else change.addedNodes.forEach((node) => node.nodeType === 1 && nameAll(node.parentElement ?? node));
      }
    }).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["aria-label", "title"] });
  };
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start); else start();
})();
