"""Write for people and for other programs: tables, figures, reports, workbooks."""
