"""Transforms that give images another grid."""
