CREATE TABLE jobs (
    -- Numbers are never given twice.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Whose it is, if somebody was asked.
    owner TEXT,
    -- An owner has each once.
    key TEXT,
    -- JSON: Plan, DataRef, [ModelDigest], Environment; INDEX/COUNT, if it is a part.
    plan TEXT NOT NULL,
    data TEXT NOT NULL,
    models TEXT NOT NULL,
    environment TEXT NOT NULL,
    shard TEXT,
    -- JSON: Baseline, if there is one.
    baseline TEXT,
    -- queued, running, done, failed or cancelled.
    state TEXT NOT NULL,
    -- Of a job that is done: pass, inconclusive, unreliable or fail.
    verdict TEXT,
    -- Of a job that failed.
    reason TEXT,
    -- Seconds since 1970-01-01 UTC.
    created INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER
) STRICT;

-- Nobody has the empty name. Jobs without a key are not compared.
CREATE UNIQUE INDEX keys ON jobs (ifnull(owner, ''), key);

CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- From 0.
    seq INTEGER NOT NULL,
    -- JSON: Event.
    body TEXT NOT NULL,
    -- JSON: Progress, how far the job was with this event.
    progress TEXT,
    PRIMARY KEY (job, seq)
) STRICT;
