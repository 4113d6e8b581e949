//! XML as EC2 writes it: elements, text, lists of `item`.

use std::fmt::Display;

use quick_xml::escape::escape;

/// XML under construction. Names are ours; text is escaped. What XML cannot carry at all never gets here: `request.rs`
/// refuses it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Xml(String);

impl Xml {
    pub(super) const fn new() -> Self {
        Self(String::new())
    }

    /// Begins with the declaration.
    pub(super) fn document() -> Self {
        Self("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned())
    }

    /// An element with text in it.
    pub(super) fn text(&mut self, name: &str, value: impl Display) -> &mut Self {
        let value = value.to_string();
        let mut value = escape(value.as_str());
        // Parsers read a bare carriage return as a line feed (XML 1.0, 2.11).
        if value.contains('\r') {
            value = value.replace('\r', "&#13;").into();
        }
        for part in ["<", name, ">", &value, "</", name, ">"] {
            self.0.push_str(part);
        }
        self
    }

    /// The same, or nothing.
    pub(super) fn optional(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// An element with elements in it.
    pub(super) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) -> &mut Self {
        self.element_with(name, "", content)
    }

    /// The same with attributes, which are written as they are.
    pub(super) fn element_with(&mut self, name: &str, attributes: &str, content: impl FnOnce(&mut Self)) -> &mut Self {
        for part in ["<", name, attributes, ">"] {
            self.0.push_str(part);
        }
        let start = self.0.len();
        content(self);
        if self.0.len() == start {
            self.0.pop();
            self.0.push_str("/>");
        } else {
            for part in ["</", name, ">"] {
                self.0.push_str(part);
            }
        }
        self
    }

    /// A list of structures.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut content: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.element(name, |xml| {
            for item in items {
                xml.element("item", |xml| content(xml, item));
            }
        })
    }

    /// A list of texts.
    pub(super) fn items<T: Display>(&mut self, name: &str, items: impl IntoIterator<Item = T>) -> &mut Self {
        self.element(name, |xml| {
            for item in items {
                xml.text("item", item);
            }
        })
    }

    /// What was made elsewhere.
    pub(super) fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_what_is_empty_is_one_tag() {
        let mut xml = Xml::new();
        xml.text("a", "<&>\"'\r\n").items("b", ["c", "d"]).items::<&str>("e", []).optional("f", None::<bool>);
        assert_eq!(xml.into_string(), "<a>&lt;&amp;&gt;&quot;&apos;&#13;\n</a><b><item>c</item><item>d</item></b><e/>");
    }
}
