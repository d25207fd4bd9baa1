//! Numbers formatted for people.

/// Formats a number of seconds in its two largest units: `2 min 5 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Formats a number with a comma between thousands: `1,234,567`.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let texts = [42.4, 125.0, 7_260.0, 270_000.0].map(duration);
        assert_eq!(texts, ["42 s", "2 min 5 s", "2 h 1 min", "3 d 3 h"]);
    }

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(
            [7, 1_000, 11_176_512].map(thousands),
            ["7", "1,000", "11,176,512"]
        );
    }
}
