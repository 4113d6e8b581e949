//! Whatever the text, checking it ends, and without a panic.

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        if let Err(faults) = check(&text, "any.toml", &no_files) {
            prop_assert!(faults.to_string().starts_with("any.toml:"));
        }
    }

    #[test]
    fn no_damage_to_a_sound_file_makes_it_panic(
        cuts in proptest::collection::vec((0_usize..20_000, 0_usize..40, "[\\PC]{0,6}"), 1..6),
    ) {
        let mut text = REFERENCE.to_owned();
        for (at, length, with) in cuts {
            let floor = |mut at: usize, text: &str| {
                at = at.min(text.len());
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                at
            };
            let start = floor(at, &text);
            let end = floor(start + length, &text);
            text.replace_range(start..end.max(start), &with);
        }
        if let Err(faults) = check(&text, "damaged.toml", &netns) {
            prop_assert!(!faults.list.is_empty());
            for fault in &faults.list {
                prop_assert!(faults.text.get(fault.span.clone()).is_some());
                prop_assert!(fault.line >= 1 && fault.column >= 1);
            }
        }
    }

    #[test]
    fn any_values_of_the_right_type_are_survived(
        prefix in 0_u8..=40, swap: bool, port in any::<i64>(), mtu in any::<i64>(), delay in "[0-9.]{0,24}(ns|us|ms|s|m|h)?",
    ) {
        // The very first and the very last range of that length.
        let last = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
        let (first, last) = (format!("0.0.0.0/{prefix}"), format!("{}/{prefix}", std::net::Ipv4Addr::from(last)));
        let ranges = if swap { [&last, &first] } else { [&first, &last] };
        let text = BASE
            .replacen("10.0.0.0/16", ranges[0], 1)
            .replacen("10.0.1.0/24", ranges[1], 1)
            .replacen("10.0.9.0/24", ranges[0], 1)
            .replacen("192.168.10.0/24", ranges[1], 1)
            .replacen("ipv4 = \"10.0.1.100\"", "", 1)
            .replacen("ipv4 = \"192.168.10.10\"", "", 1)
            .replacen("port = 443", &format!("port = {port}"), 1)
            .replacen("mtu = 1500", &format!("mtu = {mtu}"), 1)
            .replacen("\"20ms\"", &format!("\"{delay}\""), 1);
        if let Err(faults) = check(&text, "any.toml", &no_files) {
            prop_assert!(faults.to_string().starts_with("any.toml:"));
        }
    }
}
