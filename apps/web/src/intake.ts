/** The ways in for a photograph: picker, camera, drag and drop, paste. */
import { element } from "./elements";

export function takePhotographs(taken: (file: File) => void): void {
  for (const id of ["file", "camera", "another"]) {
    const input = element(id, HTMLInputElement);
    input.addEventListener("change", () => {
      const file = input.files?.[0];
      input.value = ""; // so that the same photograph can be chosen again
      if (file) taken(file);
    });
  }
  let inside = 0;
  const over = (by: number) => {
    inside = Math.max(0, inside + by);
    document.body.classList.toggle("dropping", inside > 0);
  };
  window.addEventListener("dragenter", () => over(1));
  window.addEventListener("dragleave", () => over(-1));
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    over(-inside);
    const file = event.dataTransfer?.files[0];
    if (file) taken(file);
  });
  window.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (file) taken(file);
  });
}
