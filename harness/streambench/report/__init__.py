"""What a person reads after a run: HTML, Markdown, JUnit, tables and charts."""
