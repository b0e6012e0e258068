//! Settings that come from the environment.

/// The value of an environment variable, a whole number of at least `least`; `None` if it is not set or empty. Of a
/// comma-separated list, such as OMP_NUM_THREADS may be, the first number counts.
///
/// # Errors
/// The text of an invalid value. Callers treat the variable as not set; `import mixup_rs` warns of it.
pub fn whole_number(name: &str, least: usize) -> Result<Option<usize>, String> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let value = value.to_string_lossy();
    let text = value.trim();
    if text.is_empty() {
        return Ok(None);
    }
    match parse(text) {
        Some(number) if number >= least => Ok(Some(number)),
        _ => Err(value.into_owned()),
    }
}

/// A number that overflows becomes the largest `usize`.
fn parse(text: &str) -> Option<usize> {
    // OMP_NUM_THREADS can hold one number per nesting level.
    let digits = text.split(',').next()?.trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_read() {
        assert_eq!(parse("12"), Some(12));
        assert_eq!(parse("4,3,2"), Some(4));
        assert_eq!(parse("99999999999999999999999"), Some(usize::MAX));
        for text in ["", "-1", "+1", "1.5", "1e3", "four", "0x4", ",", "\u{0663}"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
