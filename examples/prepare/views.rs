//! The views that a program is asked for.

/// Returns the views as the library wants them: none where `all` is among them.
pub fn chosen(views: Vec<String>) -> Vec<String> {
    match views.iter().any(|view| view.eq_ignore_ascii_case("all")) {
        true => Vec::new(),
        false => views,
    }
}
