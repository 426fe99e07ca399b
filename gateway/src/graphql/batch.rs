//! Samples nested under many GPUs, asked for together: as many statements as there are different questions in the query,
//! however many GPUs it lists and however deep they stand.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::dataloader::{DataLoader, Loader};
use tokio::task::JoinSet;

use crate::read::{Each, Error, Model, Sample, Source};

/// Answers questions about samples of single GPUs.
pub(super) struct OfEach(Model);

/// A question and a GPU.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) question: Arc<Each>,
    pub(super) gpu: Source,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.gpu == other.gpu && same(&self.question, &other.question)
    }
}

impl Eq for Key {}

/// By the GPU alone: there are few questions.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.gpu.hash(state);
    }
}

fn same(one: &Arc<Each>, other: &Arc<Each>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// Of one GPU. A question that fails does so for its GPUs and leaves the others.
pub(super) type Answer = Result<Vec<Sample>, Arc<Error>>;

/// One request's. What it has under way ends with it.
pub(super) fn loader(read: Model) -> DataLoader<OfEach> {
    let tasks = Mutex::new(JoinSet::new());
    let spawn = move |load| {
        tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(load);
    };
    // All at once: what is too much is refused by the read model.
    DataLoader::new(OfEach(read), spawn).max_batch_size(usize::MAX)
}

impl Loader<Key> for OfEach {
    type Value = Answer;
    type Error = Arc<Error>;

    async fn load(&self, keys: &[Key]) -> Result<HashMap<Key, Answer>, Arc<Error>> {
        let mut questions: Vec<(Arc<Each>, Vec<&Key>)> = Vec::new();
        for key in keys {
            match questions.iter_mut().find(|(question, _)| same(question, &key.question)) {
                Some((_, asked)) => asked.push(key),
                None => questions.push((Arc::clone(&key.question), vec![key])),
            }
        }
        let mut answers = HashMap::with_capacity(keys.len());
        for (question, asked) in questions {
            let gpus: Vec<Source> = asked.iter().map(|key| key.gpu.clone()).collect();
            match self.0.samples_of_each(&gpus, &question).await {
                Ok(samples) => {
                    answers.extend(asked.into_iter().cloned().zip(samples.into_iter().map(Ok)));
                }
                Err(error) => {
                    let error = Arc::new(error);
                    answers.extend(asked.into_iter().map(|key| (key.clone(), Err(Arc::clone(&error)))));
                }
            }
        }
        Ok(answers)
    }
}
