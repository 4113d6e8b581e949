//! A compiled policy and its evaluation.

use std::sync::Arc;

use super::PolicyKind;
use super::condition::Condition;
use super::context::{Dependencies, Key, Request};
use super::pattern::Pattern;
use super::principal::{Meant, Named, Principals};

/// A policy document, checked and compiled.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    kind: PolicyKind,
    statements: Box<[Statement]>,
    dependencies: Dependencies,
}

/// What a policy says to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// A statement denies it, whatever others say.
    Deny { statement: usize },
    /// A statement allows it, and this is how it means the caller.
    Allow { statement: usize, meant: Meant },
    /// Nothing: an implicit deny.
    Silence,
}

/// One statement. All of it must fit a request.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Statement {
    pub(super) sid: Option<Arc<str>>,
    pub(super) allow: bool,
    pub(super) principals: Principals,
    pub(super) actions: Patterns,
    pub(super) resources: Patterns,
    pub(super) conditions: Box<[Condition]>,
}

/// `Action` or `NotAction`, `Resource` or `NotResource`.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Patterns {
    pub(super) negated: bool,
    pub(super) any_of: Box<[Pattern]>,
}

impl Patterns {
    #[inline]
    fn match_text(&self, text: &str, fold: bool, request: &Request<'_>) -> bool {
        self.any_of.iter().any(|pattern| pattern.matches(text, fold, request)) != self.negated
    }
}

impl Policy {
    /// The default endpoint policy: anyone, anything. It is what an endpoint has whose policy was never set.
    pub fn full_access() -> Self {
        let any = || Patterns { negated: false, any_of: [Pattern::Any].into() };
        let principals = Principals::Only([Named::Anyone].into());
        let conditions = Box::default();
        let statement = Statement { sid: None, allow: true, principals, actions: any(), resources: any(), conditions };
        Self::of(PolicyKind::Endpoint, vec![statement])
    }

    pub(super) fn of(kind: PolicyKind, statements: Vec<Statement>) -> Self {
        let dependencies = statements.iter().fold(Dependencies::NONE, |all, statement| {
            let patterns = [&statement.actions, &statement.resources];
            let in_patterns = patterns.into_iter().flat_map(|p| p.any_of.iter()).flat_map(Pattern::keys);
            let in_conditions = statement.conditions.iter().flat_map(Condition::keys);
            in_patterns.chain(in_conditions).map(Key::dependency).fold(all, Dependencies::and)
        });
        Self { kind, statements: statements.into(), dependencies }
    }

    /// What it is attached to.
    pub const fn kind(&self) -> PolicyKind {
        self.kind
    }

    /// How many statements it has.
    pub const fn statement_count(&self) -> usize {
        self.statements.len()
    }

    /// All that its decisions depend on besides caller, action and resource.
    pub(super) const fn dependencies(&self) -> Dependencies {
        self.dependencies
    }

    pub(super) fn sid(&self, statement: usize) -> Option<Arc<str>> {
        self.statements.get(statement).and_then(|statement| statement.sid.clone())
    }

    /// Judges a request: any deny decides; of the allows the one that means the caller most directly is told.
    pub(super) fn evaluate(&self, request: &Request<'_>) -> Decision {
        let mut decision = Decision::Silence;
        let mut best = Meant::No;
        for (statement, s) in self.statements.iter().enumerate() {
            let meant = s.principals.mean(&request.caller);
            let useless = meant == Meant::No || (s.allow && meant <= best);
            if useless || !s.applies(request) {
                continue;
            }
            if !s.allow {
                return Decision::Deny { statement };
            }
            best = meant;
            decision = Decision::Allow { statement, meant };
        }
        decision
    }
}

impl Statement {
    fn applies(&self, request: &Request<'_>) -> bool {
        self.actions.match_text(request.action, true, request)
            && self.resources.match_text(request.resource, false, request)
            && self.conditions.iter().all(|condition| condition.holds(request))
    }
}
