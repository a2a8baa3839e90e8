"use strict";

// The page does not know its own address when it is made; behind a proxy only the browser does.
const snippet = document.getElementById("curl");
snippet.textContent = snippet.textContent.replace("$ORIGIN", location.origin);

async function copy(button) {
  const text = button.dataset.copy ?? document.getElementById(button.dataset.copyFrom).textContent;
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Browsers give the clipboard to secure pages only; http://192.168.… is none.
    prompt("Copy this:", text);
  }
  setTimeout(() => { button.textContent = label; }, 1500);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (button && !button.disabled) copy(button);
});
