"""A prepared folder on disk: frames and their index, labels, ground truth of built-in people.

`label_fields` declares the labels, `labels` stores and reads them. What a stream and the loss make
of them is in `data.streams.person_labels` and `tasks.mesh.supervision`.
"""
