//! The rows: what a telephone sends, what signalling says of it, and what is asked of the daemon.
//!
//! `drop`, `silence`, `tone` and `delay-buffer` are rtpengine's; tonewall is asked with the same
//! words, and masks whatever they are.

use std::ops::RangeInclusive;

use tonewall::proto::codec::Law;

/// How a key travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// In-band.
    Tones,
    /// RFC 4733 in place of audio, under this payload type; lengths in samples, one is drawn.
    Events(u8, &'static [usize]),
    /// Both at once.
    Both(u8),
}

/// What the session descriptions say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    /// The one codec of audio.
    pub(crate) law: Law,
    /// Payload type of telephone-event in the caller's description.
    pub(crate) caller_events: Option<u8>,
    /// The same in the agent's.
    pub(crate) agent_events: Option<u8>,
}

/// `block DTMF`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    /// `DTMF-security`.
    pub(crate) security: &'static str,
    /// `delay-buffer`, ms.
    pub(crate) delay_ms: Option<u32>,
    /// The flag `detect-DTMF`.
    pub(crate) detect: bool,
}

/// What happens to the caller's packets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Network {
    pub(crate) loss: f64,
    /// Share that the next packet overtakes.
    pub(crate) swap: f64,
    pub(crate) duplicate: f64,
    /// Packets wait for the end of such a span and come together, ms.
    pub(crate) clump_ms: u64,
    /// Most that a packet is late, ms; its followers queue behind it.
    pub(crate) jitter_ms: u64,
    /// Most that a packet is late, ms; others overtake it.
    pub(crate) reorder_ms: u64,
}

/// What happens during the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    Nothing,
    /// An offer and an answer with the same codecs; every digit counts.
    Reoffer,
    /// They add telephone-event; the digits after them count.
    ReofferWithEvents,
    /// Another SSRC with other numbers; every digit counts.
    NewSource,
    /// `block DTMF` comes while a key is down; the digits after that one count.
    BlockInMidKey,
    /// The daemon is killed (SIGKILL) and started again, then the call is offered anew; the digits
    /// after that count.
    Restart,
    /// The caller dials the trigger that switches blocking on; the digits after it count.
    Trigger,
    /// What counts is what a recorder gets.
    Recording,
}

/// One row.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) group: &'static str,
    pub(crate) name: String,
    pub(crate) keys: Keys,
    pub(crate) session: Session,
    /// In which the audio is sent.
    pub(crate) law: Law,
    /// `None` only for the controls.
    pub(crate) block: Option<Block>,
    /// Of both tones together.
    pub(crate) dbm0: f64,
    /// Column over row.
    pub(crate) twist_db: f64,
    /// Of both frequencies, as a share.
    pub(crate) detune: f64,
    pub(crate) length_ms: RangeInclusive<usize>,
    pub(crate) network: Network,
    pub(crate) happening: Happening,
    /// Wants daemons of its own: it kills them, or is known to.
    pub(crate) alone: bool,
}

/// Whole packet times: 80 and 100 ms.
const WHOLE: &[usize] = &[640, 800];
/// 50 and 70 ms.
const BROKEN: &[usize] = &[400, 560];

/// Two tones over one of them.
const BOTH_DB: f64 = 3.0;

const fn block(security: &'static str) -> Block {
    Block {
        security,
        delay_ms: None,
        detect: false,
    }
}

impl Block {
    const fn delay(mut self, ms: u32) -> Self {
        self.delay_ms = Some(ms);
        self
    }

    const fn detect(mut self) -> Self {
        self.detect = true;
        self
    }

    /// For names of rows.
    fn words(&self) -> String {
        let delay = self.delay_ms.map(|ms| format!(", delay-buffer {ms}"));
        let detect = if self.detect { ", detect-DTMF" } else { "" };
        format!("{}{}{detect}", self.security, delay.unwrap_or_default())
    }
}

/// Without telephone-event in the SDP, so that rtpengine listens to the audio.
const AUDIO_ONLY: Session = Session {
    law: Law::Mu,
    caller_events: None,
    agent_events: None,
};
const WITH_EVENTS: Session = Session {
    caller_events: Some(101),
    agent_events: Some(101),
    ..AUDIO_ONLY
};
/// What rtpengine masks tones with best.
const SILENCE_100: Block = block("silence").delay(100);

fn row(group: &'static str, name: impl Into<String>, block: Block, keys: Keys) -> Row {
    Row {
        group,
        name: name.into(),
        keys,
        session: match keys {
            Keys::Tones => AUDIO_ONLY,
            Keys::Events(..) | Keys::Both(_) => WITH_EVENTS,
        },
        law: Law::Mu,
        block: Some(block),
        dbm0: -10.0 + BOTH_DB,
        twist_db: 0.0,
        detune: 0.0,
        length_ms: 40..=100,
        network: Network::default(),
        happening: Happening::Nothing,
        alone: false,
    }
}

/// The same calls without `block DTMF`: what the harness itself hears.
pub(crate) fn controls() -> Vec<Row> {
    let keys = [
        ("tones", Keys::Tones),
        ("events", Keys::Events(101, WHOLE)),
        ("events of 50 and 70 ms", Keys::Events(101, BROKEN)),
        ("events and tones", Keys::Both(101)),
    ];
    keys.map(|(name, keys)| Row {
        block: None,
        session: WITH_EVENTS,
        ..row("not blocked", name, block("off"), keys)
    })
    .into()
}

/// All rows but the controls.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = events();
    rows.extend(tones());
    rows.extend(shapes());
    rows.extend(networks());
    rows.extend(happenings());
    rows
}

fn events() -> Vec<Row> {
    const GROUP: &str = "events";
    let drop = block("drop");
    let mut rows = vec![
        row(GROUP, "drop", drop, Keys::Events(101, WHOLE)),
        row(GROUP, "drop, 50 and 70 ms", drop, Keys::Events(101, BROKEN)),
        row(GROUP, "drop, events and tones", drop, Keys::Both(101)),
    ];
    for (security, alone) in [("silence", false), ("tone", false), ("random", true)] {
        let whole = row(GROUP, security, block(security), Keys::Events(101, WHOLE));
        let broken = row(
            GROUP,
            format!("{security}, 50 and 70 ms"),
            block(security),
            Keys::Events(101, BROKEN),
        );
        rows.extend([whole, broken].map(|row| Row { alone, ..row }));
    }
    for ms in [20, 40, 50, 60, 80, 100, 200] {
        let block = block("tone").delay(ms).detect();
        let words = block.words();
        let broken = format!("{words}, 50 and 70 ms");
        rows.push(row(GROUP, words, block, Keys::Events(101, WHOLE)));
        rows.push(row(GROUP, broken, block, Keys::Events(101, BROKEN)));
    }
    for block in [drop, block("silence")] {
        let other = |caller, agent, sent, what: &str| Row {
            session: Session {
                caller_events: caller,
                agent_events: agent,
                ..AUDIO_ONLY
            },
            ..row(
                GROUP,
                format!("{}, {what}", block.words()),
                block,
                Keys::Events(sent, WHOLE),
            )
        };
        rows.extend([
            other(None, None, 101, "payload type not in the SDP"),
            other(Some(96), Some(96), 101, "96 negotiated, 101 sent"),
            other(Some(96), Some(101), 101, "96 and 101, caller sends 101"),
            other(Some(96), Some(101), 96, "96 and 101, caller sends 96"),
        ]);
    }
    rows
}

fn tones() -> Vec<Row> {
    const GROUP: &str = "tones";
    let mut rows = Vec::new();
    let mut add = |block: Block, session: Session, what: &str| {
        rows.push(Row {
            session,
            alone: block.security == "random",
            ..row(
                GROUP,
                format!("{}{what}", block.words()),
                block,
                Keys::Tones,
            )
        });
    };
    add(block("drop"), AUDIO_ONLY, "");
    add(block("drop"), WITH_EVENTS, ", events negotiated");
    for security in ["silence", "tone", "zero", "random"] {
        add(block(security), AUDIO_ONLY, "");
    }
    for ms in [10, 20, 25, 30, 35, 40, 45, 50, 60, 80, 100, 200] {
        add(block("silence").delay(ms), AUDIO_ONLY, "");
    }
    for ms in [20, 40, 50, 60, 80, 100, 200] {
        let block = block("tone").delay(ms).detect();
        add(block, WITH_EVENTS, ", events negotiated");
    }
    add(SILENCE_100, WITH_EVENTS, ", events negotiated");
    add(SILENCE_100.detect(), WITH_EVENTS, ", events negotiated");
    for security in ["tone", "zero", "random"] {
        add(block(security).delay(100), AUDIO_ONLY, "");
    }
    for security in ["zero", "drop"] {
        let block = block(security).delay(100).detect();
        add(block, WITH_EVENTS, ", events negotiated");
    }
    rows.push(Row {
        session: Session {
            law: Law::A,
            ..AUDIO_ONLY
        },
        ..row(
            GROUP,
            "silence, delay-buffer 100, PCMA negotiated, PCMU sent",
            SILENCE_100,
            Keys::Tones,
        )
    });
    rows.push(Row {
        session: Session {
            law: Law::A,
            ..AUDIO_ONLY
        },
        law: Law::A,
        ..row(
            GROUP,
            "silence, delay-buffer 100, in PCMA",
            SILENCE_100,
            Keys::Tones,
        )
    });
    rows
}

fn shapes() -> Vec<Row> {
    const GROUP: &str = "shapes of tones (silence, delay-buffer 100)";
    let plain = |name: String| row(GROUP, name, SILENCE_100, Keys::Tones);
    let mut rows = vec![
        Row {
            length_ms: 40..=200,
            ..plain("40 to 200 ms".to_owned())
        },
        Row {
            length_ms: 45..=45,
            block: Some(block("silence").delay(60)),
            ..plain("45 ms, delay-buffer 60".to_owned())
        },
    ];
    for ms in [15, 20, 25, 30] {
        rows.push(Row {
            length_ms: ms..=ms,
            ..plain(format!("{ms} ms"))
        });
    }
    for db in [6.0, 8.0, -8.0, -10.0] {
        rows.push(Row {
            twist_db: db,
            ..plain(format!("twist {db:+} dB"))
        });
    }
    for percent in [2.0, -2.0, 3.5, -3.5] {
        rows.push(Row {
            detune: percent / 100.0,
            ..plain(format!("frequencies {percent:+} %"))
        });
    }
    for dbm0 in [-20.0, -30.0, -40.0, -45.0, -50.0] {
        rows.push(Row {
            dbm0: dbm0 + BOTH_DB,
            ..plain(format!("each tone at {dbm0} dBm0"))
        });
    }
    rows
}

fn networks() -> Vec<Row> {
    const GROUP: &str = "networks (silence, delay-buffer 100, tones)";
    let quiet = Network::default();
    let networks = [
        (
            "jitter of 60 ms",
            Network {
                jitter_ms: 60,
                ..quiet
            },
        ),
        ("20 % swapped", Network { swap: 0.2, ..quiet }),
        (
            "20 % twice",
            Network {
                duplicate: 0.2,
                ..quiet
            },
        ),
        (
            "clumps of 60 ms",
            Network {
                clump_ms: 60,
                ..quiet
            },
        ),
        (
            "5 % lost",
            Network {
                loss: 0.05,
                ..quiet
            },
        ),
        ("10 % lost", Network { loss: 0.1, ..quiet }),
        ("20 % lost", Network { loss: 0.2, ..quiet }),
        (
            "reordered within 100 ms",
            Network {
                reorder_ms: 100,
                ..quiet
            },
        ),
    ];
    networks
        .map(|(name, network)| Row {
            network,
            ..row(GROUP, name, SILENCE_100, Keys::Tones)
        })
        .into()
}

fn happenings() -> Vec<Row> {
    const GROUP: &str = "in mid call";
    let of = |name: &str, block, keys, happening| Row {
        happening,
        alone: matches!(happening, Happening::Restart | Happening::Trigger),
        ..row(GROUP, name, block, keys)
    };
    let events = Keys::Events(101, WHOLE);
    let drop = block("drop");
    vec![
        of(
            "silence 100: offered again, same codecs",
            SILENCE_100,
            Keys::Tones,
            Happening::Reoffer,
        ),
        of(
            "silence 100: offered again, adds telephone-event",
            SILENCE_100,
            Keys::Tones,
            Happening::ReofferWithEvents,
        ),
        of(
            "silence 100: another SSRC",
            SILENCE_100,
            Keys::Tones,
            Happening::NewSource,
        ),
        of(
            "drop: blocked while an event lasts",
            drop,
            events,
            Happening::BlockInMidKey,
        ),
        of(
            "silence 100: blocked while a tone lasts",
            SILENCE_100,
            Keys::Tones,
            Happening::BlockInMidKey,
        ),
        of(
            "silence 100: a recorder, tones",
            SILENCE_100,
            Keys::Tones,
            Happening::Recording,
        ),
        of(
            "drop: a recorder, events",
            drop,
            events,
            Happening::Recording,
        ),
        of(
            "drop: killed, started, offered again; events",
            drop,
            events,
            Happening::Restart,
        ),
        of(
            "silence 100: killed, started, offered again; tones",
            SILENCE_100,
            Keys::Tones,
            Happening::Restart,
        ),
        of(
            "silence 100 by trigger, tones",
            SILENCE_100,
            Keys::Tones,
            Happening::Trigger,
        ),
        of(
            "silence 100, detect-DTMF, by trigger, tones",
            SILENCE_100.detect(),
            Keys::Tones,
            Happening::Trigger,
        ),
        of(
            "silence 100 by trigger, events",
            SILENCE_100,
            events,
            Happening::Trigger,
        ),
    ]
}
