{
  const dialog = document.getElementById("images");
  const { names, cells } = JSON.parse(document.getElementById("images-data").textContent);
  const open = (key) => {
    const [trueName, predicted] = key.split(",").map((label) => names[label]);
    const { images, shown } = cells[key];
    const answer = trueName === predicted ? `${trueName}, classified correctly` : `${trueName}, taken for ${predicted}`;
    const some = shown.length < images ? `, the ${shown.length} surest of ${images}` : `, ${images}`;
    dialog.querySelector("h3").textContent = answer + some;
    dialog.querySelector("ul").replaceChildren(
      ...shown.map(([name, position, confidence]) => {
        const item = document.createElement("li");
        const tile = document.createElement("span");
        tile.className = "tile";
        tile.setAttribute("role", "img");
        tile.setAttribute("aria-label", `${name}: ${answer} at ${confidence}`);
        tile.style.backgroundPosition = position;
        item.append(tile, confidence, document.createElement("br"), name);
        return item;
      }),
    );
    dialog.showModal();
  };
  for (const button of document.querySelectorAll("[data-cell]")) {
    button.addEventListener("click", () => open(button.dataset.cell));
  }
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
