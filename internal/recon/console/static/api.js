// Recon's API, asked with the credentials that the browser has.

const base = new URL("../api/v1/", import.meta.url);

// How long an answer may take, in milliseconds. The browser asks for name and
// password meanwhile, so it is not short.
const patience = 30_000;

/** A request that was not answered with what it asks for. Status 0: not at all. */
export class Failure extends Error {
  constructor(status, detail) {
    super(detail);
    this.name = "Failure";
    this.status = status;
  }
}

// Whether anything was answered yet: before, people type, for as long as they do.
let answered = false;

/**
 * Asks for a path below /api/v1/ and returns what it says, and the header that
 * leads to the next page. Throws a Failure.
 */
export async function ask(path) {
  let response, text;
  try {
    const signal = answered ? AbortSignal.timeout(patience) : undefined;
    response = await fetch(new URL(path, base), { credentials: "same-origin", cache: "no-store", redirect: "error", signal });
    text = await response.text();
  } catch (e) {
    throw new Failure(0, e.name === "TimeoutError" ? `no answer within ${patience / 1000} seconds` : "there is no connection");
  }
  if (response.status === 401) answered = false;
  if (!response.ok) throw new Failure(response.status, reason(response, text));
  answered = true;
  try {
    return { body: JSON.parse(text), next: response.headers.get("X-O3-Last-Key") };
  } catch {
    throw new Failure(response.status, "what was answered is not JSON: something else may be answering in Recon's place");
  }
}

// reason returns what the body of an error says.
function reason(response, text) {
  try {
    const { subject, detail, kind } = JSON.parse(text);
    return [subject, detail || kind].filter(Boolean).join(": ");
  } catch {
    return response.statusText || `status ${response.status}`;
  }
}

// The most pages of the distribution that are read.
const mostPages = 10;

/** Returns how many files there are of each size, by the largest size of its bin; part: there was more to read. */
export async function fileCounts() {
  const sums = new Map();
  let next = "";
  for (let page = 0; page < mostPages; page++) {
    const answer = await ask("utilization/fileCount?limit=-1" + (next && `&prevKey=${next}`)); // next comes percent-encoded
    for (const row of answer.body) {
      if (row.count > 0) sums.set(row.fileSize, (sums.get(row.fileSize) ?? 0) + row.count);
    }
    next = answer.next;
    if (!next) return { sums, part: false };
  }
  return { sums, part: true };
}

/** Returns what there is of everything. */
export async function totals() {
  const [state, pending, open, expiry] = await Promise.all(
    ["clusterState", "pendingDeletion?component=om", "keys/open/summary", "lifecycle/summary"].map(async (path) => (await ask(path)).body));
  return {
    volumes: state.volumes,
    buckets: state.buckets,
    keys: state.keys,
    snapshots: state.snapshots,
    containers: state.containers,
    keysPendingDeletion: state.keysPendingDeletion,
    deletedDirs: state.deletedDirs,
    openKeys: open.totalOpenKeys,
    openBytes: open.totalUnreplicatedDataSize,
    pendingBytes: pending.totalSize,
    pendingKeyBytes: pending.pendingKeySize,
    pendingDirectoryBytes: pending.pendingDirectorySize,
    heldBytes: pending.snapshotHeldSize,
    heldNames: pending.snapshotHeldNames,
    ruledBuckets: expiry.buckets,
    unfinishedScans: expiry.unfinishedScans,
    expiredKeys: expiry.deletedKeys + expiry.movedKeys,
    expiredBytes: expiry.deletedBytes + expiry.movedBytes,
  };
}
