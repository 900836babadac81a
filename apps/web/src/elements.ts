/** Elements of index.html by their id. */

export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html should have a ${kind.name} named ${id} but has none`);
  return found;
}

/** A new element with this text. */
export function made(tag: string, text: string, className = ""): HTMLElement {
  const fresh = document.createElement(tag);
  fresh.textContent = text;
  if (className) fresh.className = className;
  return fresh;
}
