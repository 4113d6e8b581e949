//! The latest denials, for people to look at.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::security_group::Subject;
use crate::time::{Moment, Now, UnixTime};
use crate::verdict::Reason;

/// Denials remembered; older ones make way.
pub const DENIALS_MAX: usize = 64;

/// While new kinds of denials come faster than this fills the list, they are not explained: a flood shall not cost more than
/// the packets it is made of.
const FLOOD: Duration = Duration::from_millis(100);

/// Packets of one kind that went no further: from one source to one port, for one reason, under the same rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// What the packet was; its source port is that of the last one.
    pub subject: Subject,
    /// Why it was denied.
    pub reason: Reason,
    /// The same in words, with the rule that denied it or came nearest to allowing it.
    pub text: Cow<'static, str>,
    /// The eni it was for; `None` if it was for none.
    pub eni: Option<Arc<str>>,
    /// When the first came.
    pub first: UnixTime,
    /// When the last came.
    pub last: UnixTime,
    /// How many came.
    pub packets: u64,
}

impl Denial {
    fn is_of_kind(&self, subject: &Subject, reason: Reason) -> bool {
        let (a, b) = (&self.subject.tuple, &subject.tuple);
        self.reason == reason
            && a.addresses == b.addresses
            && a.dst_port == b.dst_port
            && a.protocol == b.protocol
            && self.subject.icmp == subject.icmp
    }
}

#[derive(Debug)]
pub(super) struct Denials {
    /// Oldest kind first.
    ring: VecDeque<Remembered>,
    /// Of the rules in force: what others denied is not what these deny, and may have another text.
    epoch: u64,
}

#[derive(Debug)]
struct Remembered {
    /// When the first came.
    seen: Moment,
    epoch: u64,
    denial: Denial,
}

impl Denials {
    pub(super) fn new(epoch: u64) -> Self {
        Self { ring: VecDeque::with_capacity(DENIALS_MAX), epoch }
    }

    /// Other rules are in force from now on.
    pub(super) const fn begin_epoch(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Denial> {
        self.ring.iter().map(|remembered| &remembered.denial)
    }

    pub(super) fn record(
        &mut self,
        subject: Subject,
        reason: Reason,
        eni: Option<&Arc<str>>,
        now: Now,
        explain: impl FnOnce() -> Cow<'static, str>,
    ) {
        // Most often a client tries again: the latest kinds are looked at first.
        let epoch = self.epoch;
        let mut latest = self.ring.iter_mut().rev().filter(|known| known.epoch == epoch).map(|known| &mut known.denial);
        if let Some(known) = latest.find(|known| known.is_of_kind(&subject, reason)) {
            (known.subject, known.last) = (subject, now.unix);
            known.packets += 1;
            return;
        }
        let is_full = self.ring.len() == DENIALS_MAX;
        let is_flood = is_full && self.ring.front().is_some_and(|oldest| now.mono.since(oldest.seen) < FLOOD);
        let text = if is_flood { Cow::Borrowed("not explained: too many denials at once") } else { explain() };
        if is_full {
            self.ring.pop_front();
        }
        let (first, last) = (now.unix, now.unix);
        let denial = Denial { subject, reason, text, eni: eni.cloned(), first, last, packets: 1 };
        self.ring.push_back(Remembered { seen: now.mono, epoch, denial });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{FiveTuple, Protocol};
    use std::net::Ipv4Addr;

    fn subject(source: u32, src_port: u16) -> Subject {
        let src = (Ipv4Addr::from_bits(source), src_port);
        Subject { tuple: FiveTuple::v4(src, (Ipv4Addr::LOCALHOST, 443), Protocol::TCP), icmp: None }
    }

    #[test]
    fn repeated_denials_are_one_kind_and_the_oldest_kind_makes_way() {
        let (mut denials, now) = (Denials::new(1), Now::default());
        let explained = || Cow::Borrowed("because");
        for attempt in 0..3 {
            let later = now.after(Duration::from_secs(attempt));
            denials.record(subject(1, attempt as u16), Reason::SecurityGroupMismatch, None, later, explained);
        }
        denials.record(subject(1, 0), Reason::NetworkAclDeny, None, now, explained);
        let kinds: Vec<_> = denials.iter().map(|d| (d.packets, d.subject.tuple.src_port, d.last.secs())).collect();
        assert_eq!(kinds, [(3, 2, 2), (1, 0, 0)]);
        for source in 2..=DENIALS_MAX as u32 {
            denials.record(subject(source, 0), Reason::SecurityGroupMismatch, None, now.after(FLOOD), explained);
        }
        assert_eq!(denials.iter().count(), DENIALS_MAX);
        assert_eq!(denials.iter().next().unwrap().reason, Reason::NetworkAclDeny);
        assert!(denials.iter().all(|denial| denial.text == "because"));
    }

    #[test]
    fn what_other_rules_deny_is_another_kind_with_a_text_of_its_own() {
        let (mut denials, now) = (Denials::new(1), Now::default());
        for (epoch, text) in [(1, "one"), (1, "never asked"), (2, "two"), (2, "never asked")] {
            denials.begin_epoch(epoch);
            denials.record(subject(1, 0), Reason::NetworkAclDeny, None, now, || Cow::Borrowed(text));
        }
        let kinds: Vec<_> = denials.iter().map(|denial| (denial.text.as_ref(), denial.packets)).collect();
        assert_eq!(kinds, [("one", 2), ("two", 2)]);
    }

    #[test]
    fn a_flood_of_kinds_is_not_explained_until_it_ebbs() {
        let (mut denials, now) = (Denials::new(1), Now::default());
        for source in 0..=DENIALS_MAX as u32 {
            denials.record(subject(source, 0), Reason::SecurityGroupMismatch, None, now, || Cow::Borrowed("because"));
        }
        let texts: Vec<_> = denials.iter().map(|denial| denial.text.clone()).collect();
        assert_eq!(
            (texts[0].as_ref(), texts[DENIALS_MAX - 1].as_ref()),
            ("because", "not explained: too many denials at once")
        );
        denials
            .record(subject(99, 0), Reason::SecurityGroupMismatch, None, now.after(FLOOD), || Cow::Borrowed("again"));
        assert_eq!(denials.iter().last().unwrap().text, "again");
    }
}
