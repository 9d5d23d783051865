//! The tree behind JSON and XML.

/// A named tree. The name is the root element of XML; JSON does not show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
}

/// A node. Members of lists have names too: XML shows them, JSON does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Bool(bool),
    List(Vec<(String, Self)>),
    Map(Vec<(String, Self)>),
}

impl Value {
    /// A list whose members are all called `name`.
    pub(crate) fn list(name: &str, members: impl IntoIterator<Item = impl Into<Self>>) -> Self {
        Self::List(
            members
                .into_iter()
                .map(|member| (name.to_owned(), member.into()))
                .collect(),
        )
    }

    /// A map.
    pub(crate) fn map<'a>(members: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Map(
            members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// The word upstream prints for a truth value where it prints it as text.
    pub(crate) fn truth(value: bool) -> Self {
        Self::from(if value { "true" } else { "false" })
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
