//! HCL as blocks of typed attributes, every problem with its place in the file.
//!
//! A [`Section`] is one body. Its methods take what they know; what is left at [`Section::end`] is unknown and a
//! problem. What stands behind an `=` is [`value`](super::value)'s.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use hcl::Value;
use hcl_edit::Span;
use hcl_edit::structure::{Attribute, Block, Body, Structure};

use super::Problem;
use super::value::{Unfit, convert as evaluated, is_literal};

/// The list that problems go to.
#[derive(Debug, Clone)]
pub(super) struct Problems {
    text: Rc<str>,
    found: Rc<RefCell<Vec<Problem>>>,
}

impl Problems {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            found: Rc::default(),
        }
    }

    /// Notes a problem at a byte offset.
    pub(super) fn at(&self, span: Option<Range<usize>>, message: impl Into<String>) {
        let before = span
            .and_then(|span| self.text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        self.found.borrow_mut().push(Problem {
            line,
            column,
            message: message.into(),
        });
    }

    pub(super) fn take(&self) -> Vec<Problem> {
        let mut problems = self.found.take();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        problems
    }
}

/// Parses a file's text into its outermost section.
pub(super) fn root(text: &str, problems: &Problems) -> Option<Section> {
    match text.parse::<Body>() {
        Ok(body) => Some(Section::new(
            "the file".to_owned(),
            Some(0..0),
            body,
            problems,
        )),
        Err(error) => {
            let place = error.location();
            let message = error.message().trim().replace('\n', "; ");
            let problem = Problem {
                line: place.line(),
                column: place.column(),
                message,
            };
            problems.found.borrow_mut().push(problem);
            None
        }
    }
}

/// One body, of which the known parts are taken one by one.
#[derive(Debug)]
pub(super) struct Section {
    name: String,
    /// Its first label, with its place.
    pub(super) label: Option<(String, Option<Range<usize>>)>,
    span: Option<Range<usize>>,
    attributes: Vec<Attribute>,
    blocks: Vec<Block>,
    known: Vec<&'static str>,
    problems: Problems,
}

impl Section {
    fn new(name: String, span: Option<Range<usize>>, body: Body, problems: &Problems) -> Self {
        let (mut attributes, mut blocks) = (Vec::new(), Vec::new());
        for structure in body {
            match structure {
                Structure::Attribute(attribute) => attributes.push(attribute),
                Structure::Block(block) => blocks.push(block),
            }
        }
        Self {
            name,
            label: None,
            span,
            attributes,
            blocks,
            known: Vec::new(),
            problems: problems.clone(),
        }
    }

    fn of_block(block: Block, problems: &Problems) -> Self {
        let span = block.ident.span();
        let labels: Vec<_> = block
            .labels
            .iter()
            .map(|label| (label.as_str().to_owned(), label.span()))
            .collect();
        let mut section = Self::new(
            format!("block {}", block.ident.as_str()),
            span,
            block.body,
            problems,
        );
        section.label = labels.into_iter().next();
        section
    }

    /// The blocks of that name, each with as many labels.
    pub(super) fn blocks(&mut self, name: &'static str, labels: usize) -> Vec<Section> {
        self.known.push(name);
        let (ours, others) = std::mem::take(&mut self.blocks)
            .into_iter()
            .partition(|block| block.has_ident(name));
        self.blocks = others;
        let mut sections = Vec::new();
        for block in ours {
            if block.labels.len() == labels {
                sections.push(Self::of_block(block, &self.problems));
            } else {
                let expected = if labels == 0 {
                    "no label"
                } else {
                    "one label: a name in quotes"
                };
                self.problems
                    .at(block.ident.span(), format!("block {name} takes {expected}"));
            }
        }
        sections
    }

    /// The block of that name; a second one is a problem.
    pub(super) fn block(&mut self, name: &'static str) -> Option<Section> {
        let mut blocks = self.blocks(name, 0).into_iter();
        let first = blocks.next();
        for second in blocks {
            self.problems.at(
                second.span.clone(),
                format!("a second block {name}; only one is taken"),
            );
        }
        first
    }

    /// The value of an attribute, as `convert` reads it; `expected` says what it takes.
    pub(super) fn value<T>(
        &mut self,
        name: &'static str,
        convert: impl Fn(&Value) -> Result<T, Unfit>,
    ) -> Option<T> {
        self.known.push(name);
        let at = self
            .attributes
            .iter()
            .position(|attribute| attribute.has_key(name))?;
        let attribute = self.attributes.remove(at);
        match evaluated(&attribute.value, convert) {
            Ok(value) => Some(value),
            Err(message) => {
                self.problems
                    .at(attribute.value.span(), format!("{name}: {message}"));
                None
            }
        }
    }

    /// Takes an attribute whose absence is a problem.
    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        convert: impl Fn(&Value) -> Result<T, Unfit>,
    ) -> Option<T> {
        if !self
            .attributes
            .iter()
            .any(|attribute| attribute.has_key(name))
        {
            self.problem(format!("{} needs {name}", self.name));
        }
        self.value(name, convert)
    }

    /// Whether the value of an attribute is written in the file itself.
    pub(super) fn is_literal(&self, name: &str) -> bool {
        let mut attributes = self.attributes.iter();
        attributes.any(|attribute| attribute.has_key(name) && is_literal(&attribute.value))
    }

    /// A problem of the whole section.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.problems.at(self.span.clone(), message);
    }

    /// Whatever was not taken is unknown.
    pub(super) fn end(self) {
        let known = self.known.join(", ");
        for attribute in &self.attributes {
            let message = format!(
                "unknown key {} in {}; known are {known}",
                attribute.key.as_str(),
                self.name
            );
            self.problems.at(attribute.key.span(), message);
        }
        for block in &self.blocks {
            let message = format!(
                "unknown block {} in {}; known are {known}",
                block.ident.as_str(),
                self.name
            );
            self.problems.at(block.ident.span(), message);
        }
    }
}
