//! What a query would cost, worked out before anything is looked up (pure).
//!
//! A field costs one, times the items of the lists it stands in. A list is taken to be as long as its `limit`, or as what
//! there is where that is less: so `{ clusters { hosts { gpus { status } } } }` costs what the fleet is large, not a
//! hundred times a hundred times a hundred. Every fragment is weighed once, however often it is spread.

use std::collections::HashMap;

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Value, Variables};

use crate::read::{DEFAULT_LIMIT, MAX_LIMIT, Size};

/// The most fields and spreads once all fragments are put in.
pub(super) const MAX_FIELDS: u64 = 2_000;

/// The most questions to PostgreSQL; those of the GPUs of a list are one.
pub(super) const MAX_QUESTIONS: u64 = 20;

/// How deep a question about the schema may nest: as deep as the usual one of a playground, and a little more.
const MAX_INTROSPECTION: u32 = 20;

/// What a query may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How deep it may nest.
    pub(super) depth: u32,
    /// What it may cost.
    pub(super) cost: u64,
    /// Whether it may ask about the schema.
    pub(super) introspection: bool,
}

/// What a part of a query comes to.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    fields: u64,
    questions: u64,
    depth: u32,
    /// The depth below `__schema` and `__type`.
    introspection: u32,
    /// Things that a mutation does.
    acts: u64,
    cost: u64,
}

impl Weight {
    fn and(self, other: Weight) -> Weight {
        Weight {
            fields: self.fields.saturating_add(other.fields),
            questions: self.questions.saturating_add(other.questions),
            depth: self.depth.max(other.depth),
            introspection: self.introspection.max(other.introspection),
            acts: self.acts.saturating_add(other.acts),
            cost: self.cost.saturating_add(other.cost),
        }
    }
}

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// At the top.
    Root,
    /// At the top of a subscription: what it tells comes one by one.
    Stream,
    /// At the top of a mutation: each is one thing that is done.
    Act,
    /// Below.
    Inside,
    /// Below `__schema` or `__type`.
    Schema,
}

struct Scales<'a> {
    document: &'a ExecutableDocument,
    operation: &'a OperationDefinition,
    variables: &'a Variables,
    size: Size,
    /// `None` while it is being weighed.
    fragments: HashMap<(&'a Name, Place), Option<Weight>>,
}

/// # Errors
/// One line that names the limit.
pub(super) fn check(
    document: &ExecutableDocument,
    variables: &Variables,
    size: Size,
    bounds: Bounds,
) -> Result<(), String> {
    let mut all = Weight::default();
    // Each of them is validated, though only one is answered.
    for (_, operation) in document.operations.iter() {
        let operation = &operation.node;
        let mut scales = Scales { document, operation, variables, size, fragments: HashMap::new() };
        let top = match operation.ty {
            OperationType::Query => Place::Root,
            OperationType::Mutation => Place::Act,
            OperationType::Subscription => Place::Stream,
        };
        all = all.and(scales.weigh(&operation.selection_set.node, top)?);
    }
    if all.fields > MAX_FIELDS {
        return Err(format!(
            "the query has {} fields, aliases and spreads among them; at most {MAX_FIELDS}",
            all.fields
        ));
    }
    if all.depth > bounds.depth {
        return Err(format!("the query nests {} deep; at most {} (GRAPHQL_MAX_DEPTH)", all.depth, bounds.depth));
    }
    if all.introspection > 0 && !bounds.introspection {
        return Err("questions about the schema are not answered here (ENABLE_INTROSPECTION=false)".to_owned());
    }
    if all.introspection > MAX_INTROSPECTION {
        return Err(format!(
            "the question about the schema nests {} deep; at most {MAX_INTROSPECTION}",
            all.introspection
        ));
    }
    if all.acts > 1 {
        return Err(format!("the request would do {} things; one at a time", all.acts));
    }
    if all.questions > MAX_QUESTIONS {
        return Err(format!("the query asks PostgreSQL {} times; at most {MAX_QUESTIONS}", all.questions));
    }
    if all.cost > bounds.cost {
        return Err(format!(
            "the query would cost {}: one for each field, times the items of the lists it stands in; at most {} \
             (GRAPHQL_MAX_COMPLEXITY): ask for fewer fields, or fewer items with limit or first",
            all.cost, bounds.cost
        ));
    }
    Ok(())
}

impl<'a> Scales<'a> {
    fn weigh(&mut self, set: &'a SelectionSet, place: Place) -> Result<Weight, String> {
        let mut all = Weight::default();
        for selection in &set.items {
            let weight = match &selection.node {
                Selection::Field(field) => self.field(&field.node, place)?,
                Selection::InlineFragment(fragment) => self.weigh(&fragment.node.selection_set.node, place)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, place)?,
            };
            all = all.and(weight);
        }
        // Spreads count too: they are walked as fields are.
        let spreads = set.items.iter().filter(|selection| !matches!(selection.node, Selection::Field(_))).count();
        Ok(all.and(Weight { fields: spreads as u64, ..Weight::default() }))
    }

    fn fragment(&mut self, name: &'a Name, place: Place) -> Result<Weight, String> {
        match self.fragments.get(&(name, place)) {
            Some(Some(weight)) => return Ok(*weight),
            Some(None) => return Err(format!("the fragment {name} holds itself")),
            None => {}
        }
        // That it is not there is the validation's to say.
        let Some(fragment) = self.document.fragments.get(name) else { return Ok(Weight::default()) };
        self.fragments.insert((name, place), None);
        let weight = self.weigh(&fragment.node.selection_set.node, place)?;
        self.fragments.insert((name, place), Some(weight));
        Ok(weight)
    }

    fn field(&mut self, field: &'a Field, place: Place) -> Result<Weight, String> {
        let name = field.name.node.as_str();
        let enters_schema = matches!(name, "__schema" | "__type");
        let below = if enters_schema || place == Place::Schema { Place::Schema } else { Place::Inside };
        let inside = self.weigh(&field.selection_set.node, below)?;
        let one = if place == Place::Schema { 0 } else { 1 };
        Ok(Weight {
            fields: inside.fields.saturating_add(1),
            questions: inside.questions
                + u64::from(asks(name) && !matches!(place, Place::Schema | Place::Stream | Place::Act)),
            depth: inside.depth + one,
            introspection: inside.introspection + u32::from(below == Place::Schema),
            acts: inside.acts + u64::from(place == Place::Act && !name.starts_with("__")),
            cost: inside.cost.saturating_mul(self.items(field, place)).saturating_add(1),
        })
    }

    /// How many items a field may have.
    fn items(&self, field: &Field, place: Place) -> u64 {
        let (root, size) = (place == Place::Root, self.size);
        let there_are = match field.name.node.as_str() {
            _ if matches!(place, Place::Stream | Place::Act) => return 1,
            name if place == Place::Schema => return of_schema(name),
            "clusters" | "clusters_page" => size.clusters,
            "hosts" | "hosts_page" if root => size.hosts,
            "hosts" | "hosts_page" => size.hosts_of_cluster,
            "gpus" | "gpus_page" | "latest" | "latest_page" if root => size.gpus,
            "gpus" | "gpus_page" => size.gpus_of_host,
            "metrics" => return nexus_common::domain::CATALOGUE.len() as u64,
            name if asks(name) => MAX_LIMIT,
            _ => return 1,
        };
        let limit = ["limit", "first"].into_iter().find_map(|name| self.argument(field, name));
        (limit.unwrap_or(DEFAULT_LIMIT).min(there_are) as u64).max(1)
    }

    /// A whole number that is given, as a constant or a variable.
    fn argument(&self, field: &Field, name: &str) -> Option<usize> {
        let of_variable = |name: Name| {
            let default = || {
                let mut known = self.operation.variable_definitions.iter();
                let known = known.find(|known| known.node.name.node == name)?;
                known.node.default_value.as_ref().map(|value| value.node.clone())
            };
            self.variables.get(&name).cloned().or_else(default).ok_or(())
        };
        match field.get_argument(name)?.node.clone().into_const_with(of_variable).ok()? {
            // One that is out of bounds is the field's to refuse.
            Value::Number(given) => given.as_u64().map_or(Some(0), |given| usize::try_from(given).ok()),
            _ => None,
        }
    }
}

/// Fields behind which PostgreSQL is asked.
fn asks(name: &str) -> bool {
    matches!(
        name,
        "telemetry"
            | "telemetry_page"
            | "events"
            | "events_page"
            | "audit"
            | "dead_letters"
            | "dead_letters_page"
            | "actions"
            | "actions_page"
    )
}

/// About how long the lists of the schema are.
fn of_schema(name: &str) -> u64 {
    match name {
        "types" => 50,
        "fields" => 10,
        "args" | "inputFields" | "enumValues" => 4,
        "directives" => 5,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_graphql::parser::parse_query;

    const SIZE: Size = Size { clusters: 2, hosts: 40, hosts_of_cluster: 31, gpus: 255, gpus_of_host: 8 };

    fn checked(query: &str, variables: serde_json::Value) -> Result<(), String> {
        let document = parse_query(query).unwrap();
        check(
            &document,
            &Variables::from_json(variables),
            SIZE,
            Bounds { depth: 12, cost: 10_000, introspection: true },
        )
    }

    fn cost(query: &str) -> String {
        let document = parse_query(query).unwrap();
        let refused = check(&document, &Variables::default(), SIZE, Bounds { depth: 12, cost: 0, introspection: true })
            .unwrap_err();
        refused.split("cost ").nth(1).unwrap().split(':').next().unwrap().to_owned()
    }

    #[test]
    fn a_list_is_as_long_as_what_there_is() {
        assert_eq!(cost("{ clusters { cluster_id status } }"), "5");
        assert_eq!(cost("{ clusters { hosts { gpus { status } } } }"), (1 + 2 * (1 + 31 * (1 + 8))).to_string());
        assert_eq!(cost("{ gpus(limit: 10000) { gpu_id } }"), "256");
        assert_eq!(cost("{ gpus(limit: 10) { gpu_id } }"), "11");
        assert_eq!(cost("{ telemetry { timestamp data } }"), "201");
        assert_eq!(cost("{ gpus_page(first: 10) { edges { node { gpu_id } } } }"), "31");
    }

    #[test]
    fn variables_and_fragments_count() {
        assert_eq!(cost("query($n: Int = 7) { telemetry(limit: $n) { data } }"), "8");
        assert_eq!(
            cost("{ ...q } fragment q on Query { gpus(limit: 3) { ...g } } fragment g on Gpu { gpu_id uuid }"),
            "7"
        );
        let query = "query($n: Int) { telemetry(limit: $n) { data } }";
        assert!(checked(query, serde_json::json!({"n": 9_999})).is_ok());
        assert!(checked(query, serde_json::json!({"n": 10_000})).unwrap_err().contains("10001"));
        assert!(checked(query, serde_json::json!({"n": 1e9 as u64})).unwrap_err().contains("GRAPHQL_MAX_COMPLEXITY"));
    }

    #[test]
    fn what_is_too_much_is_named() {
        let deep = |depth: usize| format!("{}{{a}}{}", "{host".repeat(depth - 1), "}".repeat(depth - 1));
        assert!(checked(&deep(12), serde_json::Value::Null).is_ok());
        assert!(checked(&deep(13), serde_json::Value::Null).unwrap_err().contains("13 deep; at most 12"));
        let many: String = (0..2_001).map(|n| format!("a{n}: b ")).collect();
        assert!(checked(&format!("{{ {many} }}"), serde_json::Value::Null).unwrap_err().contains("at most 2000"));
        let asked: String = (0..21).map(|n| format!("a{n}: telemetry(limit: 1) {{ data }} ")).collect();
        assert!(checked(&format!("{{ {asked} }}"), serde_json::Value::Null).unwrap_err().contains("21 times"));
    }

    /// Each may take as long as a request: they are counted as requests are.
    #[test]
    fn a_mutation_does_one_thing() {
        let one = "mutation { __typename redrive_dead_letters(limit: 10000) { letters returns { id } } }";
        assert_eq!((checked(one, serde_json::Value::Null), cost(one).as_str()), (Ok(()), "5"));
        let two = "mutation { ...a b: purge { rows } } fragment a on Acts { purge { rows } }";
        assert!(checked(two, serde_json::Value::Null).unwrap_err().contains("2 things; one at a time"));
    }

    #[test]
    fn questions_about_the_schema_can_be_refused() {
        for query in
            ["{ __schema { types { name } } }", "{ ...a } fragment a on Query { x: __type(name: \"Gpu\") { name } }"]
        {
            let document = parse_query(query).unwrap();
            let bounds = Bounds { depth: 12, cost: 10_000, introspection: false };
            assert!(
                check(&document, &Variables::default(), SIZE, bounds).unwrap_err().contains("ENABLE_INTROSPECTION")
            );
            assert!(check(&document, &Variables::default(), SIZE, Bounds { introspection: true, ..bounds }).is_ok());
        }
        let document = parse_query("{ clusters { __typename } }").unwrap();
        let bounds = Bounds { depth: 12, cost: 10_000, introspection: false };
        assert_eq!(check(&document, &Variables::default(), SIZE, bounds), Ok(()));
    }

    #[test]
    fn fragments_that_double_are_weighed_at_once() {
        let doubling: String =
            (0..60).map(|n| format!("fragment f{n} on Query {{ ...f{m} ...f{m} }} ", m = n + 1)).collect();
        let query = format!("{{ ...f0 }} {doubling} fragment f60 on Query {{ metrics {{ name }} }}");
        assert!(checked(&query, serde_json::Value::Null).unwrap_err().contains("at most 2000"));
        let round = "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }";
        assert!(checked(round, serde_json::Value::Null).unwrap_err().contains("holds itself"));
    }
}
