"use strict";
// Looks at the page again every second, and takes over what changed. What did not change is not touched, so that focus, selection and scrolling stay.
{
  const EVERY = 1000;
  const update = (old, now) => {
    if (old.isEqualNode(now)) return;
    if (old.nodeName !== now.nodeName || old.childNodes.length !== now.childNodes.length || old.nodeType !== Node.ELEMENT_NODE) {
      old.replaceWith(now.cloneNode(true));
      return;
    }
    for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
    const pairs = [...old.childNodes].map((child, i) => [child, now.childNodes[i]]);
    for (const [a, b] of pairs) update(a, b);
  };
  const look = async () => {
    const main = document.querySelector("main[data-live]");
    if (!main) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const now = new DOMParser().parseFromString(await answer.text(), "text/html");
      // A report is another page, with its own style and script.
      if (answer.ok && now.getElementById("report")) return location.reload();
      if (answer.ok) update(main, now.querySelector("main"));
    } catch {
      // The server is away: it may come back.
    }
    setTimeout(look, EVERY);
  };
  setTimeout(look, EVERY);
}
