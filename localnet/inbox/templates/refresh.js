// Renews the list each second; keeps the old one while the inbox is away.
const list = document.getElementById("list");
setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch("/list" + location.search);
    if (!answer.ok) return;
    const fresh = await answer.text();
    if (fresh.trim() !== list.innerHTML.trim() && !list.contains(document.activeElement)) list.innerHTML = fresh;
  } catch { /* it comes back */ }
}, 1000);
