//! Label selectors: `app=web`, `app!=web`, `app`, several joined by commas; all must hold.

use std::str::FromStr;

use serde_json::Value;

/// One or more requirements on labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    Is(String, String),
    IsNot(String, String),
    Has(String),
}

impl Selector {
    /// All requirements of several selectors.
    pub(crate) fn all(selectors: &[Self]) -> Self {
        Self(selectors.iter().flat_map(|selector| selector.0.clone()).collect())
    }

    /// Whether a document carries the labels. A document that does not parse carries none.
    pub(crate) fn matches(&self, document: &Value) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::Is(label, value) => label_of(document, label) == Some(value),
            Requirement::IsNot(label, value) => label_of(document, label) != Some(value),
            Requirement::Has(label) => label_of(document, label).is_some(),
        })
    }
}

fn label_of<'a>(document: &'a Value, label: &str) -> Option<&'a str> {
    document.get("metadata")?.get(format!("label/{label}"))?.as_str()
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let own = |part: &str| part.trim().to_owned();
    let requirement = if let Some((label, value)) = text.split_once("!=") {
        Requirement::IsNot(own(label), own(value))
    } else if let Some((label, value)) = text.split_once('=') {
        Requirement::Is(own(label), own(value))
    } else {
        Requirement::Has(own(text))
    };
    let (Requirement::Is(label, _) | Requirement::IsNot(label, _) | Requirement::Has(label)) =
        &requirement;
    if label.is_empty() {
        return Err(format!("{text:?} names no label; write label=value, label!=value or label"));
    }
    Ok(requirement)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_requirement_must_hold() {
        let document =
            json!({"metadata": {"name": "w", "label/app": "web", "label/tier": "front"}});
        let holds = |text: &str| text.parse::<Selector>().unwrap().matches(&document);
        assert!(holds("app=web"));
        assert!(holds("app=web,tier=front"));
        assert!(holds("app"));
        assert!(holds("app!=db"));
        assert!(holds("zone!=a"));
        assert!(!holds("app=web,tier=back"));
        assert!(!holds("zone"));
        assert!(!holds("name=w"));
    }

    #[test]
    fn a_selector_without_a_label_is_refused() {
        assert!("=web".parse::<Selector>().is_err());
        assert!("app=web,".parse::<Selector>().is_err());
    }
}
