"""Checklists of journals and a model card, answered from the files of a study."""
