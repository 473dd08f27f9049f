"""Names and signatures of the documents that minitrain was built after, where they differ from its own.

One module for each document, whose examples run with the names of that module: `insight` (trainers for transformers),
`modular` (a modular trainer), `tisslm` (a hand-written language model), `multimodal` (images and texts) and `craft`
(parts and factories). Import the module: ``from minitrain.compat import tisslm``. New code should use minitrain's own
names, which these modules stand on.
"""
