//! What a guesser gets, and how told digits are counted.

/// The count that chance exceeds with less than `probability` where each of `trials` succeeds with
/// probability `chance`.
pub(crate) fn highest_of_chance(trials: usize, chance: f64, probability: f64) -> usize {
    let mut log = trials as f64 * (1.0 - chance).ln();
    let mut above = 1.0 - log.exp();
    let mut count = 0;
    while above > probability && count < trials {
        count += 1;
        log += ((trials - count + 1) as f64 / count as f64 * chance / (1.0 - chance)).ln();
        above -= log.exp();
    }
    count
}

/// Length of the longest common subsequence: digits told in their order.
pub(crate) fn common_length(told: &[u8], keyed: &[u8]) -> usize {
    let mut best = vec![0; keyed.len() + 1];
    for digit in told {
        let mut diagonal = 0;
        for (at, key) in keyed.iter().enumerate() {
            let above = best[at + 1];
            best[at + 1] = if digit == key {
                diagonal + 1
            } else {
                above.max(best[at])
            };
            diagonal = above;
        }
    }
    best[keyed.len()]
}
