//! Items of any sort as CSV: a row of names, then a row an item.
//!
//! - A column a field, in the item's order. What holds others becomes dotted columns (`latest.power_watts`), metrics in the
//!   catalogue's order; the values of a sample (`data`) stand under the metrics' own names.
//! - A value with particulars is the column, and the particulars are dotted: `power_watts`, `power_watts.timestamp`.
//! - Lists and labels, whose names are anybody's, stay JSON in one column.
//! - Text that a spreadsheet would take for a formula gets a leading apostrophe; numbers are left alone.

use std::collections::HashMap;
use std::fmt;

use nexus_common::domain::Metric;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Number;

/// An item that can be a row.
pub(super) trait Row: Serialize {
    /// Its fields in order, so that an empty table has its names, too.
    const FIELDS: &'static [&'static str];
    /// About its bytes as JSON, with ten metrics: room for a page that need not grow and be copied time and again.
    const ROOM: usize = 512;

    /// Writes it as serde does, behind what is there.
    ///
    /// # Errors
    /// Where serde has one.
    fn json(&self, body: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(body, self)
    }
}

/// The field whose entries are columns under their own names.
const SPREAD: &str = "data";
/// The field that stays JSON.
const LABELS: &str = "labels";
/// What stands for the whole of an object that has it.
const VALUE: &str = "value";

/// The table of these items. `metrics` are those that were asked for: their columns are there whether or not anybody
/// reported them, so that all pages of a question have the same.
pub(super) fn csv<T: Row>(items: &[T], metrics: Option<&[String]>) -> anyhow::Result<Vec<u8>> {
    let mut table = Table::new(T::FIELDS);
    for name in metrics.into_iter().flatten().filter(|_| T::FIELDS.contains(&SPREAD)) {
        let column = table.spread(name);
        table.column(SPREAD, name, column);
    }
    for item in items {
        let Tree::Object(fields) = serde_json::from_slice(&serde_json::to_vec(item)?)? else {
            anyhow::bail!("an item is no object");
        };
        table.add(fields)?;
    }
    table.write()
}

/// A JSON value whose fields keep their order.
enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

/// Where a column stands: field of the item, metric of the catalogue, order of appearance.
type Rank = (usize, usize, usize);

struct Table {
    fields: &'static [&'static str],
    columns: Vec<(Rank, String)>,
    by_name: HashMap<String, usize>,
    /// Cells by column.
    rows: Vec<Vec<(usize, String)>>,
}

impl Table {
    fn new(fields: &'static [&'static str]) -> Self {
        let mut table = Table { fields, columns: Vec::new(), by_name: HashMap::new(), rows: Vec::new() };
        for field in fields.iter().filter(|field| ![SPREAD, "latest", "range"].contains(field)) {
            table.column(field, "", (*field).to_owned());
        }
        table
    }

    /// The column of an entry in a spread field: its own name, unless a field is called so.
    fn spread(&self, name: &str) -> String {
        if self.fields.contains(&name) { format!("{SPREAD}.{name}") } else { name.to_owned() }
    }

    fn column(&mut self, field: &str, metric: &str, name: String) -> usize {
        if let Some(known) = self.by_name.get(&name) {
            return *known;
        }
        let field = self.fields.iter().position(|known| *known == field).unwrap_or(usize::MAX);
        let metric = match Metric::named(metric) {
            Metric::Known(index) => usize::from(index),
            Metric::Other(_) => usize::MAX,
        };
        let at = self.columns.len();
        self.columns.push(((field, metric, at), name.clone()));
        self.by_name.insert(name, at);
        at
    }

    fn add(&mut self, fields: Vec<(String, Tree)>) -> anyhow::Result<()> {
        let mut row = Vec::new();
        for (field, value) in fields {
            match value {
                Tree::Object(entries) if field != LABELS => {
                    for (name, entry) in entries {
                        let column = if field == SPREAD { self.spread(&name) } else { format!("{field}.{name}") };
                        self.place(&mut row, (&field, &name), column, entry)?;
                    }
                }
                value => self.place(&mut row, (&field, ""), field.clone(), value)?,
            }
        }
        self.rows.push(row);
        Ok(())
    }

    /// Puts a value under a name, or an object's values under dotted ones.
    fn place(
        &mut self,
        row: &mut Vec<(usize, String)>,
        (field, metric): (&str, &str),
        column: String,
        value: Tree,
    ) -> anyhow::Result<()> {
        match value {
            Tree::Object(entries) if field != LABELS => {
                for (name, entry) in entries {
                    let column = if name == VALUE { column.clone() } else { format!("{column}.{name}") };
                    self.place(row, (field, metric), column, entry)?;
                }
            }
            value => {
                let at = self.column(field, metric, column);
                row.push((at, cell(&value)?));
            }
        }
        Ok(())
    }

    fn write(mut self) -> anyhow::Result<Vec<u8>> {
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|at| self.columns[*at].0);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(order.iter().map(|at| guarded(&self.columns[*at].1)))?;
        let mut cells = vec![String::new(); self.columns.len()];
        for row in &mut self.rows {
            cells.iter_mut().for_each(String::clear);
            for (at, text) in row.drain(..) {
                cells[at] = text;
            }
            writer.write_record(order.iter().map(|at| &cells[*at]))?;
        }
        Ok(writer.into_inner()?)
    }
}

fn cell(value: &Tree) -> anyhow::Result<String> {
    Ok(match value {
        Tree::Null => String::new(),
        Tree::Bool(value) => value.to_string(),
        Tree::Number(number) => number.to_string(),
        Tree::Text(text) => guarded(text),
        Tree::List(_) | Tree::Object(_) => serde_json::to_string(value)?,
    })
}

/// Text as text, wherever it is opened.
fn guarded(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Tree::Null => serializer.serialize_unit(),
            Tree::Bool(value) => serializer.serialize_bool(*value),
            Tree::Number(number) => number.serialize(serializer),
            Tree::Text(text) => serializer.serialize_str(text),
            Tree::List(items) => serializer.collect_seq(items),
            Tree::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Number::from_f64(value).map_or(Tree::Null, Tree::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            fields.push(entry);
        }
        Ok(Tree::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[derive(Serialize)]
    struct Item {
        name: &'static str,
        count: f64,
        labels: Value,
        list: Vec<&'static str>,
        data: Value,
        latest: Value,
    }

    impl Row for Item {
        const FIELDS: &'static [&'static str] = &["name", "count", "labels", "list", "data", "latest"];
    }

    fn table(items: &[Item], metrics: Option<&[String]>) -> String {
        String::from_utf8(csv(items, metrics).unwrap()).unwrap()
    }

    fn item(name: &'static str, data: Value, latest: Value) -> Item {
        Item { name, count: -1.5, labels: json!({"pod": "=x"}), list: vec!["6", "7"], data, latest }
    }

    #[test]
    fn items_become_rows() {
        let items = [
            item("a", json!({"power_watts": 7, "zzz": 1}), json!({})),
            item("b, \"c\"", json!({"gpu_utilization": -3}), json!({"power_watts": {"value": 1, "unit": "W"}})),
        ];
        assert_eq!(
            table(&items, None),
            "name,count,labels,list,gpu_utilization,power_watts,zzz,latest.power_watts.unit,latest.power_watts\n\
             a,-1.5,\"{\"\"pod\"\":\"\"=x\"\"}\",\"[\"\"6\"\",\"\"7\"\"]\",,7,1,,\n\
             \"b, \"\"c\"\"\",-1.5,\"{\"\"pod\"\":\"\"=x\"\"}\",\"[\"\"6\"\",\"\"7\"\"]\",-3,,,W,1\n",
        );
    }

    #[test]
    fn what_was_asked_for_is_a_column_without_values_too() {
        let asked = ["power_watts".to_owned(), "name".to_owned()];
        assert_eq!(table(&[], Some(&asked)), "name,count,labels,list,power_watts,data.name\n");
        assert_eq!(table(&[], None), "name,count,labels,list\n");
    }

    #[test]
    fn text_is_no_formula() {
        for (text, cell) in [
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("a=1", "a=1"),
        ] {
            let item = Item {
                name: text,
                count: -1.0,
                labels: json!({}),
                list: vec![],
                data: json!({"=cmd": -2}),
                latest: json!({}),
            };
            assert_eq!(table(&[item], None), format!("name,count,labels,list,'=cmd\n{cell},-1.0,{{}},[],-2\n"));
        }
    }
}
