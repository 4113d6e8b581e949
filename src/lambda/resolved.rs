//! Names that were resolved before.
//!
//! A caller invokes the same function again and again: what its name stands for is worked out once. That is a function of the
//! catalog, of the caller's account and of name and qualifier as they were given, all of which are compared in full. What
//! breaks a constraint is never kept, and every request is authorised anew.

use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::catalog::{Catalog, Target};
use super::error::{ApiError, Violations};
use super::name::NamedFunction;

/// Names kept, each below a kilobyte. One replaces another that happens to share its slot.
const SLOTS: usize = 256;

/// A valid name, and what it stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resolved {
    /// The ARN as invoked.
    pub(super) arn: Rc<str>,
    /// The function named, whatever the qualifier.
    pub(super) function: Option<usize>,
    /// `None` if there is no such function or qualifier.
    pub(super) target: Option<Rc<Target>>,
}

/// What one worker resolved, all by one catalog.
#[derive(Debug, Default)]
pub(super) struct Resolutions {
    /// Held, so that no other can come to lie where it lay.
    catalog: Option<Arc<Catalog>>,
    slots: Vec<Option<Kept>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Kept {
    account: Box<str>,
    name: Box<str>,
    qualifier: Option<Box<str>>,
    resolved: Rc<Resolved>,
}

impl Kept {
    fn is_of(&self, account: &str, name: &str, qualifier: Option<&str>) -> bool {
        *self.name == *name && self.qualifier.as_deref() == qualifier && *self.account == *account
    }
}

impl Resolutions {
    /// Resolves a name for a caller of `account`, as [`NamedFunction::resolve`] and [`Catalog::resolve`] do.
    ///
    /// # Errors
    /// Those of [`NamedFunction::resolve`], with the `violations` found before.
    pub(super) fn resolve(
        &mut self,
        catalog: &Arc<Catalog>,
        account: &str,
        name: &str,
        qualifier: Option<&str>,
        violations: Violations,
    ) -> Result<Rc<Resolved>, ApiError> {
        if !self.catalog.as_ref().is_some_and(|known| Arc::ptr_eq(known, catalog)) {
            self.catalog = Some(Arc::clone(catalog));
            self.slots.clear();
            self.slots.resize_with(SLOTS, || None);
        }
        let slot = self.slot(account, name, qualifier);
        if violations.is_empty()
            && let Some(Some(kept)) = self.slots.get(slot)
            && kept.is_of(account, name, qualifier)
        {
            return Ok(Rc::clone(&kept.resolved));
        }
        let named = NamedFunction::resolve(name, qualifier, &catalog.scope_of(account), violations)?;
        let (function, target) = (catalog.function(&named), catalog.resolve(&named).map(Rc::new));
        let resolved = Rc::new(Resolved { arn: named.arn, function, target });
        if let Some(slot) = self.slots.get_mut(slot) {
            let (account, name, qualifier) = (account.into(), name.into(), qualifier.map(Into::into));
            *slot = Some(Kept { account, name, qualifier, resolved: Rc::clone(&resolved) });
        }
        Ok(resolved)
    }

    fn slot(&self, account: &str, name: &str, qualifier: Option<&str>) -> usize {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name.as_bytes());
        hasher.write(account.as_bytes());
        hasher.write(qualifier.unwrap_or_default().as_bytes());
        hasher.finish() as usize % SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::catalog::tests::catalog;

    fn resolve(resolutions: &mut Resolutions, catalog: &Arc<Catalog>, account: &str, name: &str) -> Rc<Resolved> {
        resolutions.resolve(catalog, account, name, None, Violations::default()).unwrap()
    }

    #[test]
    fn a_name_is_resolved_once_for_each_catalog_and_account() {
        let (first, second) = (Arc::new(catalog()), Arc::new(catalog()));
        let (mut resolutions, own) = (Resolutions::default(), first.scope().account.clone());
        let found = resolve(&mut resolutions, &first, &own, "my-function");
        assert_eq!((found.function, found.target.is_some()), (Some(1), true));
        assert!(Rc::ptr_eq(&found, &resolve(&mut resolutions, &first, &own, "my-function")));
        let stranger = resolve(&mut resolutions, &first, "999999999999", "my-function");
        assert_eq!((stranger.function, &stranger.target), (None, &None));
        let anew = resolve(&mut resolutions, &second, &own, "my-function");
        assert!(!Rc::ptr_eq(&found, &anew) && found == anew);
    }

    #[test]
    fn a_qualifier_is_part_of_what_is_asked_for() {
        let (catalog, mut resolutions) = (Arc::new(catalog()), Resolutions::default());
        let account = catalog.scope().account.clone();
        let mut version = |qualifier: Option<&str>| {
            let found = resolutions.resolve(&catalog, &account, "my-function", qualifier, Violations::default());
            found.unwrap().target.as_ref().map(|target| target.version.to_string())
        };
        for _ in 0..2 {
            assert_eq!(version(None).as_deref(), Some("$LATEST"));
            assert_eq!(version(Some("prod")).as_deref(), Some("1"));
            assert_eq!(version(Some("nobody")), None);
        }
    }

    #[test]
    fn what_breaks_a_constraint_is_refused_each_time_also_if_the_name_is_known() {
        let (catalog, mut resolutions) = (Arc::new(catalog()), Resolutions::default());
        let mut error = |name, violations| resolutions.resolve(&catalog, "1", name, None, violations).err();
        assert_eq!(error("f", Violations::default()), None);
        for _ in 0..2 {
            assert!(error("a b", Violations::default()).is_some());
            let mut violations = Violations::default();
            violations.empty("tenantId");
            assert!(error("f", violations).is_some());
        }
    }
}
