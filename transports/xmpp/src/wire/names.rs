//! Namespace prefixes in scope (Namespaces in XML 1.0 section 6).
//!
//! rxml has a resolver too. Its cost grows with the depth of an element, so a stanza of 37,000 nested tags keeps
//! it busy for seconds; here it grows with the number of declarations, which is limited.

/// The declarations in scope, innermost last.
#[derive(Debug, Default)]
pub(super) struct Names {
    declared: Vec<Declared>,
}

#[derive(Debug)]
struct Declared {
    depth: usize,
    prefix: Option<String>,
    namespace: String,
}

impl Names {
    /// The element at `depth` declares `prefix`, or the default namespace.
    pub(super) fn declare(&mut self, depth: usize, prefix: Option<String>, namespace: String) {
        self.declared.push(Declared { depth, prefix, namespace });
    }

    /// The element at `depth` has ended.
    pub(super) fn leave(&mut self, depth: usize) {
        while self.declared.last().is_some_and(|last| last.depth >= depth) {
            self.declared.pop();
        }
    }

    /// How many are in scope.
    pub(super) fn len(&self) -> usize {
        self.declared.len()
    }

    /// What an element's prefix means; `None` when it means nothing.
    pub(super) fn element(&self, prefix: Option<&str>) -> Option<&str> {
        if prefix == Some("xml") {
            return Some(rxml::XMLNS_XML);
        }
        let found = self.declared.iter().rev().find(|declared| declared.prefix.as_deref() == prefix);
        match (found, prefix) {
            (Some(declared), _) => Some(&declared.namespace),
            (None, None) => Some(""),
            (None, Some(_)) => None,
        }
    }

    /// What an attribute's prefix means: without one an attribute has no namespace.
    pub(super) fn attribute(&self, prefix: Option<&str>) -> Option<&str> {
        if prefix.is_none() { Some("") } else { self.element(prefix) }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn inner_declarations_hide_outer_ones_until_they_end() {
        let mut names = Names::default();
        assert_eq!(names.element(None), Some(""));
        names.declare(1, None, "outer".to_owned());
        names.declare(1, Some("p".to_owned()), "p-outer".to_owned());
        names.declare(3, None, "inner".to_owned());
        assert_eq!((names.element(None), names.element(Some("p"))), (Some("inner"), Some("p-outer")));
        names.leave(3);
        assert_eq!(names.element(None), Some("outer"));
        assert_eq!((names.attribute(None), names.attribute(Some("p"))), (Some(""), Some("p-outer")));
        assert_eq!((names.element(Some("q")), names.attribute(Some("q"))), (None, None));
        assert_eq!(names.attribute(Some("xml")), Some("http://www.w3.org/XML/1998/namespace"));
        names.leave(1);
        assert_eq!(names.len(), 0);
    }
}
