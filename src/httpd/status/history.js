// The last five minutes: rates are differences of counters between snapshots, quantiles those of histograms.

export const keptSeconds = 300;
const locationSeconds = 60; // How far back locations are known.
const gapSeconds = 8; // Longer than between two polls.
const rateSeconds = 4; // Over how long the rates in tables are taken.

export const sum = (object) => Object.values(object).reduce((all, n) => all + n, 0);
const messages = ({ text, binary }) => text + binary;

export function quantile(histogram, part) {
  const { bounds, counts } = histogram;
  let left = part * sum(counts);
  if (!(left > 0)) return null;
  for (const [i, count] of counts.entries()) {
    if (i === bounds.length) break;
    if (count > 0 && left <= count) {
      const low = i > 0 ? bounds[i - 1] : 0;
      return low + (bounds[i] - low) * (left / count);
    }
    left -= count;
  }
  return bounds.at(-1);
}

// What came to a histogram since; null where nothing is known of before.
const grown = (now, then) => then && { bounds: now.bounds, counts: now.counts.map((n, i) => n - (then.counts[i] ?? 0)) };
const quantileOf = (now, then, part) => (then ? quantile(grown(now, then), part) : null);

const name = ({ server, location }) => `${server} ${location}`;

export class History {
  constructor() {
    this.snapshots = []; // Of one life of the server.
    this.points = [];
  }

  get now() {
    return this.snapshots.at(-1) ?? null;
  }

  // How long what is shown has lasted, in seconds.
  get span() {
    return this.points.length > 0 ? this.points.at(-1).time - this.points[0].time : 0;
  }

  add(snapshot) {
    let last = this.now;
    if (last && snapshot.time < last.time - 1) { // The server's clock was put back.
      this.snapshots = [];
      this.points = [];
      last = null;
    }
    if (last && (snapshot.started !== last.started || sum(snapshot.total.opened) < sum(last.total.opened))) this.snapshots = [];
    else if (last && snapshot.time <= last.time) return;
    this.snapshots.push({ ...snapshot, locations: new Map(snapshot.locations.map((each) => [name(each), each])) });
    this.points.push(this.point());
    const { time } = snapshot;
    while (this.points[0].time < time - keptSeconds) this.points.shift();
    while (this.snapshots[0].time < time - keptSeconds) this.snapshots.shift();
    for (const each of this.snapshots) if (each.time < time - locationSeconds) each.locations = null;
  }

  // The snapshot of so long ago, or the oldest; null while there is only one.
  before(seconds) {
    if (this.snapshots.length < 2) return null;
    const time = this.now.time - seconds;
    return this.snapshots.findLast((each, i) => each.time <= time && i < this.snapshots.length - 1) ?? this.snapshots[0];
  }

  point() {
    const { time, total, turn_seconds: turn } = this.now;
    let then = this.snapshots.at(-2) ?? null;
    if (then && time - then.time > gapSeconds) then = null;
    const rate = (read) => (then ? Math.max(0, read(total) - read(then.total)) / (time - then.time) : null);
    const lag = this.before(10);
    const trips = this.before(60);
    return {
      time, ...total.open,
      received: rate((of) => messages(of.messages.received)), sent: rate((of) => messages(of.messages.sent)),
      bytesReceived: rate((of) => messages(of.bytes.received)), bytesSent: rate((of) => messages(of.bytes.sent)),
      opened: rate((of) => sum(of.opened)), closed: rate((of) => sum(of.closed.codes)), refused: rate((of) => sum(of.refused)),
      turn50: quantileOf(turn, lag?.turn_seconds, 0.5), turn99: quantileOf(turn, lag?.turn_seconds, 0.99),
      trip50: quantileOf(total.round_trip_seconds, trips?.total.round_trip_seconds, 0.5),
      trip99: quantileOf(total.round_trip_seconds, trips?.total.round_trip_seconds, 0.99),
    };
  }

  // A row for each location, with its rates of now and the quantiles of the last minute.
  locations() {
    const then = this.before(rateSeconds);
    const minute = this.snapshots.find((each) => each.locations && each !== this.now) ?? null;
    return [...this.now.locations].map(([key, of]) => {
      const was = then?.locations?.get(key);
      const rate = (read) => (was ? Math.max(0, read(of) - read(was)) / (this.now.time - then.time) : null);
      const handled = minute?.locations.get(key)?.handler_seconds;
      return {
        key, server: of.server, location: of.location, open: sum(of.open), opened: sum(of.opened), closed: sum(of.closed.codes),
        refused: sum(of.refused), buffered: of.buffered_bytes, dropped: of.dropped, paused: of.slow_pauses + of.rate_pauses,
        received: rate((each) => messages(each.messages.received)), sent: rate((each) => messages(each.messages.sent)),
        bytesReceived: rate((each) => messages(each.bytes.received)), bytesSent: rate((each) => messages(each.bytes.sent)),
        handler99: quantileOf(of.handler_seconds, handled, 0.99),
      };
    });
  }

  // By key of what `read` gives of a total: the count, and what came to it in the time kept.
  counts(read) {
    const now = read(this.now.total);
    const then = this.snapshots.length > 1 ? read(this.snapshots[0].total) : now;
    return Object.entries(now).filter(([, count]) => count > 0).map(([key, count]) => ({ key, count, recent: count - (then[key] ?? 0) }));
  }
}
