// Search from disk. Browsers start no worker in a page that was opened as a file, so the theme's search worker runs in a
// hidden frame there. The theme's plugin `offline` would fetch such a script from the network; this one stands in for it.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const start = () => {
        this.frame = document.createElement("iframe");
        this.frame.hidden = true;
        // The worker talks to its own window; what it posts goes to the page, and what the page sends comes to it.
        this.frame.srcdoc = `<script>
          const page = parent;
          window.postMessage = data => page.postMessage({ fromWorker: data }, "*");
          window.importScripts = () => Promise.resolve();
        </script><script src="${new URL(url, document.baseURI)}"></script>`;
        this.frame.onload = () => {
          this.ready = true;
          this.waiting.forEach(data => this.deliver(data));
        };
        document.body.append(this.frame);
      };
      this.waiting = [];
      this.ready = false;
      addEventListener("message", event => {
        if (this.frame && event.source === this.frame.contentWindow && event.data && "fromWorker" in event.data)
          this.dispatchEvent(new MessageEvent("message", { data: event.data.fromWorker }));
      });
      document.body ? start() : addEventListener("DOMContentLoaded", start);
    }

    deliver(data) {
      this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    postMessage(data) {
      this.ready ? this.deliver(data) : this.waiting.push(data);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
