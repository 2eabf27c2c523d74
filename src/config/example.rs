//! The comments of `config.example.yaml`: what each key is for, in the words that users read.

/// A comment for each key that has one above it, by its path as it stands in the example.
pub(super) struct Comments(Vec<(String, String)>);

impl Comments {
    pub(super) fn of_the_example() -> Self {
        Self::of(include_str!("../../config.example.yaml"))
    }

    fn of(yaml: &str) -> Self {
        let mut comments = Vec::new();
        let mut above: Vec<&str> = Vec::new();
        let mut parents: Vec<(usize, &str)> = Vec::new();
        for line in yaml.lines() {
            let text = line.trim_start();
            let indent = line.len() - text.len();
            if let Some(comment) = text.strip_prefix('#') {
                above.push(comment.trim());
                continue;
            }
            if let Some((key, _)) = text.split_once(':').filter(|(key, _)| is_key(key)) {
                parents.retain(|(parent, _)| *parent < indent);
                parents.push((indent, key));
                let path: Vec<&str> = parents.iter().map(|(_, key)| *key).collect();
                comments.push((path.join("."), above.join(" ")));
            }
            above.clear();
        }
        comments.retain(|(_, comment)| !comment.is_empty());
        Self(comments)
    }

    /// The comment at a path, in which `*` stands for any name.
    pub(super) fn at(&self, path: &str) -> Option<&str> {
        let is_at = |there: &str| {
            let is_named = |(wanted, found)| wanted == "*" || wanted == found;
            path.split('.').count() == there.split('.').count() && path.split('.').zip(there.split('.')).all(is_named)
        };
        self.0.iter().find(|(there, _)| is_at(there)).map(|(_, comment)| comment.as_str())
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_belongs_to_the_key_below_it() {
        let comments = Comments::of(
            "# The file.\n\n# One,\n# in two lines.\na:\n  # Two.\n  name:\n    - no: key\n    # Three.\n    c: [d]\n\
             # Four.\nb: {}\ne: 1\n",
        );
        for (path, comment) in [
            ("a", Some("One, in two lines.")),
            ("a.*", Some("Two.")),
            ("a.*.c", Some("Three.")),
            ("b", Some("Four.")),
            ("e", None),
            ("a.*.c.d", None),
        ] {
            assert_eq!(comments.at(path), comment, "{path}");
        }
    }
}
