"""Files in SQuAD's format, of one question an article."""

import gzip
import json

PASSAGE = "Ada Lovelace wrote notes. She was born in London in 1815; her father was a poet."


def squad(title="Ada", context=PASSAGE, question="Where was she born?", answers=(("London", 42),)):
    answers = [{"text": t, "answer_start": s} for t, s in answers]
    qas = [{"id": "1", "question": question, "answers": answers}]
    return {"title": title, "paragraphs": [{"context": context, "qas": qas}]}


def write(path, *articles):
    text = json.dumps({"data": list(articles)}, ensure_ascii=False).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path
