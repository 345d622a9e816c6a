// The page: tabs, light and dark, and the line that says when the service is gone. Each tab has a file of its own.

import { onReach } from "./api.js";
import { startService } from "./service.js";
import { startShop } from "./shop.js";

const byId = (id) => document.getElementById(id);

function startTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const show = () => { root.dataset.theme = localStorage.getItem("headrace-theme") ?? (system.matches ? "dark" : "light"); };
  system.addEventListener("change", show);
  byId("theme").addEventListener("click", () => {
    localStorage.setItem("headrace-theme", root.dataset.theme === "dark" ? "light" : "dark");
    show();
  });
  show();
}

function startTabs(onShow) {
  const tabs = [byId("tab-shop"), byId("tab-service")];
  const choose = (chosen) => {
    for (const tab of tabs) {
      const on = tab === chosen;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
      byId(tab.getAttribute("aria-controls")).hidden = !on;
    }
    history.replaceState(null, "", chosen === tabs[0] ? location.pathname : "#service");
    onShow(chosen.getAttribute("aria-controls"));
  };
  for (const [place, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const next = tabs[(place + 1) % tabs.length];
      next.focus();
      choose(next);
    });
  }
  choose(location.hash === "#service" ? tabs[1] : tabs[0]);
}

function startReach(onReturn) {
  let gone = false;
  onReach((reached) => {
    byId("banner").hidden = reached;
    byId("banner").textContent = reached ? "" : "The service does not answer. This page tries again every second.";
    byId("pill").classList.toggle("down", !reached);
    if (!reached) byId("pill-text").textContent = "no answer";
    if (reached && gone) onReturn();
    gone = !reached;
  });
}

startTheme();
const shop = startShop();
startReach(() => shop.refresh());
const service = startService((status) => shop.use(status));
startTabs((tab) => service.show(tab === "service"));
