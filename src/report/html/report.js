"use strict";
// The page is complete without this: here come sorting, the search, copying and the theme.
(() => {
  const $ = (id) => document.getElementById(id);

  // Theme: as the system has it until the reader chooses.
  const theme = $("theme");
  const themes = ["system", "light", "dark"];
  const remember = {
    get() { try { return localStorage.getItem("svhcheck-theme"); } catch { return null; } },
    set(value) { try { localStorage.setItem("svhcheck-theme", value); } catch { /* a private window */ } },
  };
  const wear = (name) => {
    document.documentElement.dataset.theme = name;
    theme.textContent = `Theme: ${name}`;
  };
  wear(themes.includes(remember.get()) ? remember.get() : "system");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
    wear(next);
    remember.set(next);
  });

  // Search, beside the boxes that hide verdicts (these are CSS alone).
  const table = $("verdicts");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({
    row,
    text: row.textContent.toLowerCase(),
    verdict: row.className.slice(2),
  }));
  const boxes = Array.from(document.querySelectorAll("#filter input[type=checkbox]"));
  const filter = () => {
    const words = $("query").value.toLowerCase().split(/\s+/).filter(Boolean);
    const off = new Set(boxes.filter((box) => !box.checked).map((box) => box.id.slice("show-".length)));
    let shown = 0;
    for (const { row, text, verdict } of rows) {
      const found = words.every((word) => text.includes(word));
      if (row.hidden === found) row.hidden = !found;
      if (found && !off.has(verdict)) shown += 1;
    }
    $("shown").textContent = shown === rows.length ? "" : `${shown} of ${rows.length} crates`;
  };
  $("find").hidden = false;
  $("filter").addEventListener("input", filter);
  $("filter").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) {
      event.preventDefault();
      $("query").focus();
    }
  });

  // Sorting: headings become buttons.
  const rank = ["safe", "inconclusive", "infected", "flag-mismatch", "nondeterministic"];
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    const kind = heading.dataset.sort;
    if (!kind) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      // Names rise first, verdicts fall: the worst is looked for.
      const first = kind === "text" ? "ascending" : "descending";
      const other = kind === "text" ? "descending" : "ascending";
      const direction = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((own) => own.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      const key = (row) => {
        const text = row.cells[column].textContent;
        return kind === "rank" ? rank.indexOf(text) : text;
      };
      const keyed = rows.map(({ row }) => [key(row), row.cells[0].textContent, row]);
      const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
      keyed.sort((a, b) => sign * order(a[0], b[0]) || order(a[1], b[1]));
      body.append(...keyed.map((own) => own[2]));
    });
  });

  // A link to a folded finding opens it.
  const unfold = () => {
    const target = location.hash.length > 1 ? $(decodeURIComponent(location.hash.slice(1))) : null;
    if (target instanceof HTMLDetailsElement) target.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();

  // Commands can be copied.
  if (navigator.clipboard) {
    for (const command of document.querySelectorAll(".command")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(command.querySelector("code").textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
      command.append(button);
    }
  }
})();
