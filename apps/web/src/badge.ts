/** The result of the self-test: one line, and the details below it. */
import { element, made } from "./elements";
import type { Tried } from "./engine";
import type { Started } from "./protocol";

export function showTesting(what: string): void {
  show("testing", what);
}

export function showStarted({ tried, ready, applier }: Started): void {
  const last = tried.at(-1);
  if (ready && last?.verdict) {
    show("pass", "Self-test PASS", last.backend);
  } else {
    const worst = tried.find(({ verdict }) => verdict)?.verdict?.worst;
    show("fail", "Self-test FAIL", worst ? pictureName(worst) : "");
  }
  const rows = tried.map(details);
  if (ready) rows.push(made("p", `Photographs larger than the network's picture are changed on ${applier}.`));
  element("tried", HTMLElement).replaceChildren(...rows);
}

export function showError(message: string): void {
  show("fail", "Not ready");
  element("tried", HTMLElement).replaceChildren(made("p", message));
}

function show(state: "testing" | "pass" | "fail", text: string, where = ""): void {
  const badge = element("badge", HTMLElement);
  badge.dataset["state"] = state;
  badge.replaceChildren(made("span", text, "verdict"), ...(where ? [made("span", where, "where")] : []));
}

function details({ backend, file, verdict, error }: Tried): HTMLElement {
  const section = made("section", "");
  const outcome = verdict?.passed ? "PASS" : verdict ? "FAIL" : "cannot run";
  section.append(made("h3", `${backend}: ${outcome}`));
  if (!verdict) {
    section.append(made("p", error ?? ""));
    return section;
  }
  const psnr = verdict.psnr_min === null ? "every picture is identical" : `PSNR at least ${verdict.psnr_min.toFixed(1)} dB`;
  section.append(
    made("p", `${verdict.cases} pictures with known answers: ${psnr}, largest difference ${verdict.max_code} of 255.`),
    made("p", `${file}, ${verdict.runtime}, ${verdict.device}.`, "quiet"),
  );
  if (verdict.failures.length) {
    const list = made("ul", "");
    list.append(...verdict.failures.slice(0, 5).map((failure) => made("li", failure)));
    if (verdict.failures.length > 5) list.append(made("li", `and ${verdict.failures.length - 5} more`));
    section.append(list);
  }
  return section;
}

/** "astronaut at 1x16x16" without the shape. */
function pictureName(worst: string): string {
  return `picture “${worst.replace(/ at [\dx]+$/, "")}”`;
}
