"""Folders of photographs: list, plan, enhance on several threads, report, look."""
