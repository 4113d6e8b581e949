//! What all describe calls have in common: by identifier, filtered, in pages.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::error::Ec2Error;
use super::filter::Filters;
use super::id::Kind;
use super::request::{LIST_ITEMS, Request};
use super::xml::Xml;
use crate::control::State;

/// What a describe call is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    /// The element around the items.
    pub(super) set: &'static str,
    /// The parameter that names some of them, and of what kind they are.
    pub(super) ids: Option<(&'static str, &'static Kind)>,
    /// Names of filters, beside those of tags.
    pub(super) filters: &'static [&'static str],
    /// The least `MaxResults`. Calls for which it is 1 take it together with identifiers, others do not.
    pub(super) least: usize,
}

impl Listing {
    /// Shows those items that the request names, or all, as far as they pass its filters.
    ///
    /// Items come by key, ascending; the key of the last one is what a page's token holds, so that a change between two
    /// pages neither hides nor repeats what was there all the time.
    pub(super) fn answer<'k, T>(
        &self,
        state: &State,
        request: &Request,
        items: impl IntoIterator<Item = (&'k str, T)>,
        values: impl Fn(&str, &T, &str) -> Vec<String>,
        show: impl FnMut(&mut Xml, &str, &T),
    ) -> Result<Xml, Ec2Error> {
        self.select(state, request, items, values).map(|selected| self.show(request, &selected, show))
    }

    /// Those of the items that [`Listing::answer`] shows, and whether more follow them.
    pub(super) fn select<'k, T>(
        &self,
        state: &State,
        request: &Request,
        items: impl IntoIterator<Item = (&'k str, T)>,
        values: impl Fn(&str, &T, &str) -> Vec<String>,
    ) -> Result<Selected<'k, T>, Ec2Error> {
        let filters = Filters::read(request, self.filters)?;
        let page = Page::read(request, self)?;
        let mut items: Vec<(&str, T)> = items.into_iter().collect();
        if let Some((parameter, kind)) = self.ids {
            let named: BTreeSet<&str> = request.fields().list(parameter)?.into_iter().collect();
            let keys: BTreeSet<&str> = items.iter().map(|(key, _)| *key).collect();
            for id in &named {
                kind.check(id)?;
                if !keys.contains(id) {
                    return Err(kind.absent(id));
                }
            }
            items.retain(|(key, _)| named.is_empty() || named.contains(key));
        }
        items.retain(|(key, item)| filters.pass(state, key, |name| values(key, item, name)));
        if let Some(after) = &page.after {
            items.retain(|(key, _)| *key > after.as_str());
        }
        let more = items.len() > page.size;
        items.truncate(page.size);
        Ok(Selected { items, more })
    }

    /// Shows what was selected.
    pub(super) fn show<T>(
        &self,
        request: &Request,
        selected: &Selected<'_, T>,
        mut show: impl FnMut(&mut Xml, &str, &T),
    ) -> Xml {
        let Selected { items, more } = selected;
        let mut xml = Xml::new();
        xml.list(self.set, items, |xml, (key, item)| show(xml, key, item));
        if let Some((last, _)) = items.last().filter(|_| *more) {
            xml.text("nextToken", Page::token(&request.action, last));
        }
        xml
    }
}

/// One page of what passed, by key.
pub(super) struct Selected<'k, T> {
    pub(super) items: Vec<(&'k str, T)>,
    more: bool,
}

/// Which part of the items is asked for.
struct Page {
    size: usize,
    after: Option<String>,
}

impl Page {
    fn read(request: &Request, listing: &Listing) -> Result<Self, Ec2Error> {
        let fields = request.fields();
        let size = match fields.number("MaxResults")? {
            None => LIST_ITEMS,
            Some(number) => {
                let named = listing.ids.filter(|(ids, _)| !fields.inner(ids).is_empty());
                if let Some((ids, _)) = named.filter(|_| listing.least > 1) {
                    let message = format!("The parameter {ids}s cannot be used with the parameter maxResults");
                    return Err(Ec2Error::combination(message));
                }
                let least = listing.least;
                let size = usize::try_from(number).ok().filter(|size| *size >= least).ok_or_else(|| {
                    let what = format!("Value ( {number} ) for parameter maxResults is invalid.");
                    Ec2Error::value(format!("{what} Expecting a value greater than or equal to {least}."))
                })?;
                size.min(LIST_ITEMS)
            }
        };
        let after = match fields.text("NextToken").filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(Self::key(&request.action, token).ok_or_else(|| {
                Ec2Error::new("InvalidNextToken", format!("The specified NextToken '{token}' is not valid"))
            })?),
        };
        Ok(Self { size, after })
    }

    fn token(action: &str, last: &str) -> String {
        URL_SAFE_NO_PAD.encode(format!("{action}\0{last}"))
    }

    fn key(action: &str, token: &str) -> Option<String> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (of, key) = text.split_once('\0')?;
        (of == action).then(|| key.to_owned())
    }
}
