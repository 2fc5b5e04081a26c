// Conversations kept by this browser, each as one item of its localStorage: two tabs never overwrite one another, and
// nothing of the list ever leaves the machine. Which one this tab holds open is in its sessionStorage.
(() => {
  const TEXTS = /*TEXTS*/ {};
  const PREFIX = "baf-talk-", OPEN = "baf-open", LINK = "baf-link", MOST = 60, EVERY_MS = 500;
  const words = (key) => (TEXTS[document.documentElement.lang] ?? TEXTS.fr)[key] ?? key;
  const safe = (run, otherwise) => { try { return run(); } catch { return otherwise; } };  // storage may be refused
  const read = (id) => safe(() => JSON.parse(localStorage.getItem(PREFIX + id)), null);
  const forget = (id) => safe(() => localStorage.removeItem(PREFIX + id));
  const all = () => safe(() => Object.keys(localStorage), []).filter((key) => key.startsWith(PREFIX))
    .map((key) => ({ id: key.slice(PREFIX.length), ...read(key.slice(PREFIX.length)) }))
    .filter((talk) => Array.isArray(talk.turns)).sort((a, b) => b.at - a.at);

  let current = safe(() => sessionStorage.getItem(OPEN), null);
  let held = true;  // until the page has opened what was open: an empty chat must not take its place
  let left = null;  // what was open before the chat became empty; nobody's any more once the pupil speaks again
  let undoing = false, wanted = null, last = 0, timer = 0, waiting = null;
  let seen = 0;  // `at` of what is open, as this tab last read or wrote it
  let talking = false;  // the chat shows a conversation, not an opening alone
  let leaving = false;  // what is open was deleted, and grows on the screen until its answer has heard of it

  const hold = (id) => {
    current = id;
    safe(() => (id ? sessionStorage.setItem(OPEN, id) : sessionStorage.removeItem(OPEN)));
  };
  // What a link asked for, until something of this tab is kept: a reload or a login on the way does not lose it.
  const linked = (query) => safe(() => (query ? sessionStorage.setItem(LINK, query) : sessionStorage.removeItem(LINK)));
  const save = (talk) => {
    const write = () => localStorage.setItem(PREFIX + talk.id, JSON.stringify(talk));
    for (const old of all().slice(MOST)) forget(old.id);
    try { write(); return; } catch { /* full: the oldest ones make room, and come back where that was of no use */ }
    const gone = [];
    for (const old of all().filter((one) => one.id !== talk.id).reverse()) {
      gone.push([PREFIX + old.id, localStorage.getItem(PREFIX + old.id)]);
      forget(old.id);
      try { write(); return; } catch { /* still full */ }
    }
    for (const [key, text] of gone) safe(() => localStorage.setItem(key, text));
  };
  const flush = () => { clearTimeout(timer); timer = 0; if (waiting) { save(waiting); seen = waiting.at; waiting = null; last = Date.now(); } };
  const textOf = (content) => typeof content === "string" ? content
    : (Array.isArray(content) ? content : [content]).map((block) => typeof block === "string" ? block : block?.text ?? "").join("");

  window.bafKeep = (messages, persona, session, trail) => {
    const turns = (messages ?? []).map((one) => [one.role, textOf(one.content)]);
    const debate = (session ?? "").includes('"debate"') && turns.length > 0;
    talking = debate || turns.some(([role]) => role === "user");
    if (held) return;
    if (!talking) {  // a new conversation, or everything taken back
      flush();
      leaving = false;
      left = current ?? left;
      if (left && (undoing || (trail ?? "").includes('"gone"'))) forget(left);
      undoing = false;
      return hold(null);
    }
    if (leaving) return;
    undoing = false;
    left = null;
    // A question without an answer yet is not kept: it may go back into the box, or be none that anybody should find.
    if (!turns.length || turns[turns.length - 1][0] !== "assistant") return;
    const old = current ? waiting?.id === current ? waiting : read(current) : null;
    // Another tab went on with it: that is left alone, and this tab goes on under an id of its own.
    if (!old || (old !== waiting && old.at !== seen)) hold(crypto.randomUUID ? crypto.randomUUID() : `${Date.now()}-${Math.random()}`);
    if (waiting && waiting.id !== current) flush();
    const first = turns.find(([role]) => role === "user")?.[1] ?? safe(() => JSON.parse(session).question, "") ?? "";
    waiting = {
      id: current, at: Date.now(), persona: old?.persona ?? persona, title: old?.title ?? first.slice(0, 80),
      turns, session, trail,
    };
    linked(null);
    const wait = EVERY_MS - (Date.now() - last);
    if (wait <= 0) flush(); else if (!timer) timer = setTimeout(flush, wait);
  };
  window.bafUndoing = () => { undoing = true; };
  window.bafTake = () => {
    flush();
    held = true;
    bafTicked();
    const talk = wanted ? read(wanted) : null;
    if (wanted && !talk) wanted = current;  // another tab has deleted it: what is open stays open
    return JSON.stringify(talk ?? {});
  };
  window.bafArrive = () => {
    const isLink = (query) => ["q", "philo"].some((key) => new URLSearchParams(query).get(key));
    const query = isLink(location.search) ? location.search : safe(() => sessionStorage.getItem(LINK), null) ?? "";
    const asked = new URLSearchParams(query);
    const draft = asked.get("q") ?? "", persona = asked.get("philo") ?? "";
    wanted = current && read(current) ? current : null;
    if (draft || persona) {  // a link opens a conversation of its own, once: a reload goes on with what became of it
      if (query === location.search) history.replaceState(null, "", location.pathname);
      linked(query);
      wanted = null;
      hold(null);
      return JSON.stringify({ persona: persona || "spinoza", draft });
    }
    return JSON.stringify(wanted ? read(wanted) : {});
  };
  window.bafOpened = () => {
    hold(wanted);
    if (wanted) linked(null);
    leaving = false;
    seen = (wanted && read(wanted)?.at) || 0;
    wanted = null;
    held = false;
    // A random name for this browser, for fair turns and limits: it says nothing of whom it belongs to.
    const mine = safe(() => localStorage.getItem("baf-browser"), null)
      ?? Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    safe(() => localStorage.setItem("baf-browser", mine));
    return mine;
  };
  addEventListener("pagehide", flush);

  // A file, a page to print, or the clipboard: what the server wrote is delivered here, and kept nowhere.
  window.bafDeliver = (parcel) => {
    const { kind, name, text } = safe(() => JSON.parse(parcel), {}) ?? {};
    if (kind === "markdown") {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    } else if (kind === "copy") {
      // Without https there is no clipboard to ask for, and a browser may refuse: then as pages did before.
      (navigator.clipboard?.writeText(text) ?? Promise.reject(new Error("none"))).catch(() => {
        const area = make("textarea", { value: text });
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      });
    } else if (kind === "fiche") {
      document.getElementById("baf-fiche")?.remove();
      const frame = document.createElement("iframe");
      frame.id = "baf-fiche";
      frame.title = words("export_fiche");
      frame.setAttribute("aria-hidden", "true");
      frame.tabIndex = -1;
      frame.onload = () => frame.contentWindow.print();
      frame.srcdoc = text;
      document.body.append(frame);
    }
    const menu = document.querySelector(".menu[open]");
    const inside = menu?.contains(document.activeElement);
    menu?.removeAttribute("open");
    if (inside) menu.querySelector("summary").focus();
  };

  // The list, in a dialog of the page.
  const make = (tag, options = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), options);
    element.append(...children);
    return element;
  };
  const names = { maieuthon: "mode_maieuthon", debate: "mode_debate" };
  const row = (talk, draw) => {
    const kind = safe(() => JSON.parse(talk.session).kind, "talk");
    const who = (document.querySelector(`[data-persona="${CSS.escape(String(talk.persona))}"] .name`)?.textContent ?? talk.persona);
    const when = new Date(talk.at).toLocaleDateString(document.documentElement.lang, { day: "numeric", month: "long" });
    const about = [who, names[kind] && words(names[kind]), when].filter(Boolean).join(" · ");
    const title = make("span", { className: "kept-title", textContent: talk.title });
    const open = make("button", { type: "button", className: "kept-talk" }, title, make("small", { textContent: about }));
    open.dataset.talk = talk.id;
    if (talk.id === current) open.setAttribute("aria-current", "true");
    open.onclick = () => { wanted = talk.id; document.getElementById("kept-dialog").close(); };
    const rename = make("button", { type: "button", className: "quiet", textContent: words("kept_rename") });
    const remove = make("button", { type: "button", className: "quiet", textContent: words("kept_delete") });
    const entitle = (given) => {
      title.textContent = talk.title = given;
      const colon = document.documentElement.lang === "en" ? ":" : " :";
      for (const button of [rename, remove]) button.setAttribute("aria-label", `${button.textContent}${colon} ${given}`);
    };
    entitle(talk.title);
    rename.onclick = () => {
      const field = make("input", { value: talk.title, maxLength: 80 });
      field.setAttribute("aria-label", words("kept_title"));
      field.style.height = `${open.offsetHeight}px`;
      // The rest of the list stays where it is: what is pressed to leave the field must be there when it is let go.
      const end = (given) => {
        field.onblur = null;
        const fresh = given && read(talk.id);
        if (fresh) save({ ...fresh, title: given });
        if (given && waiting?.id === talk.id) waiting.title = given;
        if (given) entitle(given);
        field.replaceWith(open);
      };
      field.onkeydown = (event) => {
        if (event.key !== "Enter" && event.key !== "Escape") return;
        event.preventDefault();
        event.stopPropagation();
        end(event.key === "Enter" ? field.value.trim() : "");
        open.focus();
      };
      field.onblur = () => end(field.value.trim());
      open.replaceWith(field);
      field.select();
    };
    remove.onclick = () => {
      forget(talk.id);
      if (talk.id === current) leaveOpen();
      draw();
    };
    return make("li", {}, open, rename, remove);
  };
  const leaveOpen = () => { leaving = talking; waiting = null; hold(null); document.getElementById("new")?.click(); };
  const draw = () => {
    const dialog = document.getElementById("kept-dialog");
    if (!dialog) return;
    flush();
    const talks = all();
    const list = make("ul", {}, ...talks.map((talk) => row(talk, draw)));
    const close = make("button", { type: "button", className: "quiet", textContent: words("kept_close") });
    close.onclick = () => dialog.close();
    const erase = make("button", { type: "button", className: "quiet danger", textContent: words("kept_erase") });
    erase.onclick = () => {
      if (!erase.dataset.sure) { erase.dataset.sure = "yes"; erase.textContent = words("kept_sure"); return; }
      for (const talk of all()) forget(talk.id);
      leaveOpen();
      draw();
    };
    dialog.replaceChildren(
      make("h2", { id: "kept-heading", textContent: words("kept") }),
      make("p", { textContent: words("kept_note") }),
      talks.length ? list : make("p", { className: "kept-none", textContent: words("kept_none") }),
      make("div", { className: "kept-foot" }, ...(talks.length ? [erase] : []), close),
    );
    if (dialog.open && !dialog.contains(document.activeElement)) (dialog.querySelector(".kept-talk") ?? close).focus();
  };
  window.bafShelf = () => {
    draw();
    document.getElementById("kept-dialog")?.showModal();
  };
})();
