/** Shows a report: tiles, workers, failures, and in words what is wrong. */

import { element, say, show } from "../widget/dom.js";
import { Chart } from "./chart.js";
import { counted, duration, number } from "./words.js";

const byId = (id) => document.getElementById(id);

export class ReportView {
  #chart = new Chart({ plot: byId("plot"), queued: byId("line-queued"), running: byId("line-running"), most: byId("most") });

  draw(report) {
    const { answers, workers, failures } = report;
    this.#tiles(report);
    this.#chart.add(report.at, answers?.queued, answers?.running);
    this.#workers(workers);
    this.#failures(failures);
    this.#troubles(troublesOf(report));
  }

  /** Forgets what it showed: somebody else may sit here next. */
  clear() {
    this.#chart.clear();
    for (const id of ["workers", "failures", "troubles"]) byId(id).replaceChildren();
    for (const id of ["queued", "running", "viewers", "oldest", "depth", "failed"]) {
      say(byId(id), "–");
      say(byId(`${id}-more`), "");
    }
  }

  #tiles({ answers, workers, failures, viewers, queue_messages: depth }) {
    const alive = workers?.listed.filter((each) => !each.silent).length;
    const held = answers?.waiting_for_turn;
    const all = viewers.everywhere;
    this.#tile("queued", number(answers?.queued), held ? `${number(held)} wait for their turn` : "waiting for a worker");
    this.#tile("running", number(answers?.running), workers ? `on ${counted(alive, "worker")}` : "");
    this.#tile("viewers", number(all ?? viewers.here), all == null ? "of this web process alone" : viewers.processes === 1 ? "open streams" : `in ${number(viewers.processes)} web processes`);
    this.#tile("oldest", answers?.oldest_queued_seconds == null ? "–" : duration(answers.oldest_queued_seconds), answers ? (answers.queued ? "waits for a worker" : "nothing waits") : "");
    this.#tile("depth", number(depth), depth == null ? "" : "messages in Redis");
    const newest = failures && Math.min(...failures.codes.map((each) => each.newest_seconds));
    this.#tile("failed", failures ? number(failures.total) + (failures.more ? "+" : "") : "–", failures ? (failures.total ? `last one ${duration(newest)} ago` : "nothing went wrong") : "");
    byId("failed").classList.toggle("bad", Boolean(failures?.total));
  }

  #tile(id, value, more) {
    say(byId(id), value);
    say(byId(`${id}-more`), more);
  }

  #workers(workers) {
    const listed = workers?.listed ?? [];
    show(byId("no-workers"), workers?.total === 0);
    show(byId("workers-table"), listed.length > 0);
    show(byId("more-workers"), Boolean(workers && workers.total > listed.length));
    say(byId("more-workers"), workers ? `and ${number(workers.total - listed.length)} more` : "");
    byId("workers").replaceChildren(...listed.map(workerRow));
  }

  #failures(failures) {
    const codes = failures?.codes ?? [];
    show(byId("no-failures"), failures?.total === 0);
    byId("failures").replaceChildren(
      ...codes.map((each) =>
        element("li", {}, element("code", {}, each.code), element("b", {}, number(each.count)), element("span", {}, `last ${duration(each.newest_seconds)} ago`)),
      ),
    );
  }

  /** Only what is new is put in, so that it alone is read out. */
  #troubles(words) {
    const list = byId("troubles");
    for (const item of [...list.children]) if (!words.includes(item.textContent)) item.remove();
    const there = [...list.children].map((item) => item.textContent);
    list.append(...words.filter((each) => !there.includes(each)).map((each) => element("li", {}, each)));
  }
}

function workerRow(worker) {
  const state = worker.silent ? "silent" : "alive";
  const dot = element("span", { className: `dot ${state}`, "aria-hidden": "true" });
  const heartbeat = `${duration(worker.heartbeat_seconds)} ago${worker.silent ? ", silent" : ""}`;
  const others = [heartbeat, number(worker.running), String(worker.pid), duration(worker.up_seconds)];
  return element("tr", { className: state, title: worker.id }, element("th", { scope: "row" }, dot, worker.host), ...others.map((each) => element("td", {}, each)));
}

function troublesOf({ checks, workers }) {
  const silent = workers?.listed.filter((each) => each.silent).length ?? 0;
  return [
    checks.database === "away" && "The database is away: answers, failures and workers are not known.",
    checks.redis === "away" && "Redis is away: streams stand still, and viewers of other web processes are not counted.",
    checks.queue === "away" && "The queue is away: new answers wait for a sweeper.",
    workers && workers.listed.length > 0 && silent === workers.listed.length && "Every worker is silent: nothing is answered.",
  ].filter(Boolean);
}
