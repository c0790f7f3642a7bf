//! Order statistics.

/// The value below which `part` of the sorted values lie.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the slice")]
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    let at = (part * last as f64).round() as usize;
    sorted[at.min(last)]
}

/// The median of values in any order; of an even number, the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    f64::midpoint(sorted[count.saturating_sub(1) / 2], sorted[count / 2])
}
