//! Characters that stand in policies by mistake, and what to call them.

/// Straight and other quotes that people and word processors put around strings.
pub(super) fn is_quote(c: char) -> bool {
    c == '"' || c == '\'' || quote_name(c).is_some()
}

fn quote_name(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{2018}' => "LEFT SINGLE QUOTATION MARK",
        '\u{2019}' => "RIGHT SINGLE QUOTATION MARK",
        '\u{201C}' => "LEFT DOUBLE QUOTATION MARK",
        '\u{201D}' => "RIGHT DOUBLE QUOTATION MARK",
        '\u{201E}' => "DOUBLE LOW-9 QUOTATION MARK",
        '\u{201F}' => "DOUBLE HIGH-REVERSED-9 QUOTATION MARK",
        '\u{00AB}' => "LEFT-POINTING DOUBLE ANGLE QUOTATION MARK",
        '\u{00BB}' => "RIGHT-POINTING DOUBLE ANGLE QUOTATION MARK",
        '\u{2033}' => "DOUBLE PRIME",
        '\u{FF02}' => "FULLWIDTH QUOTATION MARK",
        _ => return None,
    })
}

/// Whether `c` may close what the wrong quote `open` opened.
pub(super) fn closes(open: char, c: char) -> bool {
    match open {
        '\'' | '\u{2018}' | '\u{2019}' => matches!(c, '\'' | '\u{2018}' | '\u{2019}'),
        _ => c != '\'' && is_quote(c),
    }
}

/// A character for a message: its code point, its name if it is one of the usual suspects, and itself if it can be seen.
pub(super) fn describe(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    let name = quote_name(c).or(match c {
        '\'' => Some("APOSTROPHE"),
        '\u{00A0}' => Some("NO-BREAK SPACE"),
        '\u{200B}' => Some("ZERO WIDTH SPACE"),
        '\u{FEFF}' => Some("BYTE ORDER MARK"),
        _ => None,
    });
    match name {
        Some(name) if c.is_whitespace() || matches!(c, '\u{200B}' | '\u{FEFF}') => format!("{code} ({name})"),
        Some(name) => format!("{code} ({name}, {c})"),
        None if c.is_ascii_graphic() => format!("'{c}'"),
        None if c.is_control() || c.is_whitespace() => code,
        None => format!("{code} ({c})"),
    }
}
