// The Streaming tab of Locust's page: Locust gives a tab of ours no place for pictures, so ours stands in a frame.
"use strict";
(() => {
  const chosen = () => new URLSearchParams(location.search).get("tab") === "streaming";
  let frame = null;
  function place() {
    const tabs = document.querySelector('[role="tablist"]');
    if (chosen() && tabs && !frame) {
      frame = document.createElement("iframe");
      frame.src = "./streambench?framed";
      frame.title = "Streaming";
      frame.style.cssText = "border:0;width:100%;height:calc(100vh - 160px);min-height:420px;display:block";
      tabs.closest(".MuiContainer-root").append(frame);
    } else if (frame && (!chosen() || !frame.isConnected)) {
      frame.remove();
      frame = null;
    }
  }
  // Locust's page draws itself anew whenever something changes; ours follows, at most a few times a second.
  let waiting = false;
  const soon = () => {
    if (!waiting) {
      waiting = true;
      setTimeout(() => { waiting = false; place(); }, 100);
    }
  };
  new MutationObserver(soon).observe(document.getElementById("root"), { childList: true, subtree: true });
  addEventListener("popstate", soon);
  soon();
})();
