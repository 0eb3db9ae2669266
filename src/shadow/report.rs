//! The report of one trunk, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::proto::shadow::{
    Carried, Histogram, LEAST_TONES, LEVEL_DBM0, Masked, SNR_DB, Scale, TWIST_DB, Tally, Trunk,
};

/// Version of what is written; a member that changes its meaning makes another.
const SCHEMA: &str = "tonewall-shadow/1";
/// Samples of an hour.
const HOUR: f64 = 3_600.0 * 8_000.0;

/// One trunk in the list of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TrunkLine {
    /// Its name: what signalling called it, or the address that its calls come from.
    pub trunk: String,
    /// Since when it is listened to.
    pub since: String,
    /// Until when its report reaches; nothing where there is none yet.
    pub until: Option<String>,
    /// Calls in its report.
    pub calls: u64,
}

impl TrunkLine {
    pub(super) fn of(trunk: &Trunk) -> Self {
        Self {
            trunk: trunk.name.to_string(),
            since: trunk.since.to_string(),
            until: until(trunk),
            calls: trunk.told.calls,
        }
    }
}

fn until(trunk: &Trunk) -> Option<String> {
    (trunk.told.calls > 0).then(|| trunk.until.to_string())
}

/// Presses of keys, whichever.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PressesReport {
    /// How many.
    pub total: u64,
    /// Told by a telephone-event (RFC 4733).
    pub by_event: u64,
    /// Told by an in-band tone.
    pub by_tone: u64,
    /// Told by a SIP INFO.
    pub by_info: u64,
    /// Told by a transport after another had told the same press: counted for each of them, and
    /// once in the total.
    pub doubles: u64,
}

/// Counts in buckets around `first`, `first + step` and so on; the ends are open.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct HistogramReport {
    /// Middle of the first bucket.
    pub first: i32,
    /// Width of a bucket.
    pub step: i32,
    /// Calls in each.
    pub counts: Vec<u64>,
    /// Mean, by the middles of the buckets.
    pub mean: Option<f64>,
}

impl HistogramReport {
    fn of(histogram: &Histogram, scale: &Scale) -> Self {
        Self {
            first: scale.first,
            step: scale.step,
            counts: histogram.counts(scale).to_vec(),
            mean: histogram.mean(scale).map(rounded),
        }
    }
}

/// How tones sounded: each call enters the means over its tones once. Level and twist depend on the
/// key a little, so that of few tones they would tell of it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MeasuresReport {
    /// Calls that had enough tones.
    pub calls: u64,
    /// How many tones are enough.
    pub least_tones: u32,
    /// Power of both tones together, dBm0.
    pub level_dbm0: HistogramReport,
    /// Upper tone over lower, dB. ITU-T Q.24 has receivers take -8 to +4.
    pub twist_db: HistogramReport,
    /// Tones over everything else, dB.
    pub snr_db: HistogramReport,
}

/// RTP packets of the callers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PacketsReport {
    /// That came.
    pub came: u64,
    /// That never came.
    pub lost: u64,
    /// Lost of those that were sent.
    pub lost_share: f64,
    /// That came after a later one.
    pub late: u64,
    /// That came twice.
    pub repeated: u64,
    /// That came while the gateway had no time for shadow mode: they are in no other number but
    /// `came` and `carried`.
    pub unheard: u64,
    /// By what they carried. `other` and `undeclared` are silence while a call is armed.
    pub carried: BTreeMap<&'static str, u64>,
}

/// Stretches that an armed call would have replaced.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct MaskedReport {
    /// How many. Keys that follow each other closely share one.
    pub count: u64,
    /// Their time.
    pub seconds: f64,
    /// Speech in them.
    pub speech_seconds: f64,
}

impl MaskedReport {
    fn of(masked: &Masked) -> Self {
        Self {
            count: masked.count,
            seconds: seconds(masked.samples),
            speech_seconds: seconds(masked.speech),
        }
    }
}

/// The callers' audio.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AudioReport {
    /// What was listened to.
    pub hours: f64,
    /// Of it, speech: what is louder by 9 dB than the quietest of the last seconds; keys excluded.
    pub speech_hours: f64,
    /// What an armed call would have replaced because of a key.
    pub keys: MaskedReport,
    /// The same because audio was missing or not understood, and might have held a key.
    pub losses: MaskedReport,
    /// The same though no key was heard: false masks.
    pub false_masks: MaskedReport,
    /// Share of speech that an armed call would have replaced.
    pub speech_masked_share: Option<f64>,
    /// False masks an hour of speech.
    pub false_masks_per_hour: Option<f64>,
    /// Stretches with a pair of tones beyond doubt and no key: one too short for a key, or of
    /// something else. Thresholds that only count and mask nothing find these, and no false masks.
    pub tones_without_key: u64,
    /// The same an hour of speech.
    pub tones_without_key_per_hour: Option<f64>,
}

/// What would be heard on one trunk. Holds no key and no count by keys.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ShadowReport {
    /// `tonewall-shadow/1`.
    pub schema: &'static str,
    /// Its name: what signalling called it, or the address that its calls come from.
    pub trunk: String,
    /// Since when it is listened to.
    pub since: String,
    /// Until when this reaches; nothing before the first period with enough calls has ended.
    pub until: Option<String>,
    /// The report goes on by as many calls at least.
    pub least_calls: u64,
    /// Calls on which audio came and that have ended.
    pub calls: u64,
    /// Of these, calls on which a key was pressed.
    pub keyed_calls: u64,
    /// Keys.
    pub presses: PressesReport,
    /// How tones sounded.
    pub measures: MeasuresReport,
    /// Packets.
    pub packets: PacketsReport,
    /// Audio.
    pub audio: AudioReport,
}

impl ShadowReport {
    pub(super) fn of(trunk: &Trunk, least_calls: u64) -> Self {
        let Tally {
            calls,
            keyed_calls,
            packets,
            presses,
            listening,
            measures,
        } = &trunk.told;
        let speech = listening.speech;
        let masked = listening.alarms.speech + listening.losses.speech;
        let carried = Carried::ALL.into_iter().zip(packets.carried);
        Self {
            schema: SCHEMA,
            trunk: trunk.name.to_string(),
            since: trunk.since.to_string(),
            until: until(trunk),
            least_calls,
            calls: *calls,
            keyed_calls: *keyed_calls,
            presses: PressesReport {
                total: presses.total(),
                by_event: presses.by_event,
                by_tone: presses.by_tone,
                by_info: presses.by_info,
                doubles: presses.doubles,
            },
            measures: MeasuresReport {
                calls: measures.calls,
                least_tones: LEAST_TONES,
                level_dbm0: HistogramReport::of(&measures.level, &LEVEL_DBM0),
                twist_db: HistogramReport::of(&measures.twist, &TWIST_DB),
                snr_db: HistogramReport::of(&measures.snr, &SNR_DB),
            },
            packets: PacketsReport {
                came: packets.came,
                lost: packets.lost,
                lost_share: share(packets.lost, packets.came + packets.lost).unwrap_or(0.0),
                late: packets.late,
                repeated: packets.repeated,
                unheard: packets.unheard,
                carried: carried
                    .filter(|(_, count)| *count > 0)
                    .map(|(carried, count)| (carried.name(), count))
                    .collect(),
            },
            audio: AudioReport {
                hours: rounded(listening.audio as f64 / HOUR),
                speech_hours: rounded(speech as f64 / HOUR),
                keys: MaskedReport::of(&listening.keys),
                losses: MaskedReport::of(&listening.losses),
                false_masks: MaskedReport::of(&listening.alarms),
                speech_masked_share: share(masked, speech),
                false_masks_per_hour: per_hour(listening.alarms.count, speech),
                tones_without_key: listening.tones,
                tones_without_key_per_hour: per_hour(listening.tones, speech),
            },
        }
    }

    /// As JSON, for a file.
    #[must_use]
    pub fn json(&self) -> String {
        // Numbers and texts always can be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// As a picture: SVG, for light and dark pages.
    #[must_use]
    pub fn picture(&self) -> String {
        super::picture::draw(self)
    }
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| rounded(part as f64 / whole as f64))
}

fn per_hour(count: u64, samples: u64) -> Option<f64> {
    (samples > 0).then(|| rounded(count as f64 * HOUR / samples as f64))
}

fn seconds(samples: u64) -> f64 {
    rounded(samples as f64 / 8_000.0)
}

/// To four decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
