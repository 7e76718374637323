"""Shared by the engines that capture graphs: rehearsals, torch's compiler, and its failures."""
